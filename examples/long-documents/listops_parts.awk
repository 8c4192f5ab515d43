# The bracketed parts of ListOps rows (Nangia & Bowman 2018), each a problem of its own, with the value that the task's rules give it, once.
#
#   awk -v least=3 -v most=32 -f listops_parts.awk train.tsv >parts.tsv      parts of LEAST to MOST tokens of rows "label TAB text" behind a header
#
# A row whose value is not its label ends it: the rules here are then not those of the file.
function value(op, first, last,    i, j, n, x, sum, a) {
    n = sum = 0
    for (i = first; i <= last; i++) { # a: ascending
        x = stack[i]
        for (j = n++; j > 0 && a[j - 1] > x; j--) a[j] = a[j - 1]
        a[j] = x
        sum += x
    }
    if (op == "[MIN") return a[0]
    if (op == "[MAX") return a[n - 1]
    if (op == "[SM") return sum % 10
    return n % 2 ? a[(n - 1) / 2] : int((a[n / 2 - 1] + a[n / 2]) / 2) # [MED
}
BEGIN { FS = "\t"; print "label\ttext" }
NR > 1 {
    n = split($2, word, " ")
    top = depth = 0
    for (k = 1; k <= n; k++) {
        if (word[k] ~ /^\[/) {
            begin[++depth] = k
            base[depth] = top
        } else if (word[k] != "]") {
            stack[top++] = word[k] + 0
        } else {
            v = value(word[begin[depth]], base[depth], top - 1)
            top = base[depth]
            stack[top++] = v
            if (k - begin[depth] + 1 >= least && k - begin[depth] + 1 <= most) {
                text = word[begin[depth]]
                for (i = begin[depth] + 1; i <= k; i++) text = text " " word[i]
                if (!(text in seen)) print v "\t" text
                seen[text]
            }
            depth--
        }
    }
    if (v != $1) {
        print FILENAME ": row " NR ": the value is " v ", the label " $1 >"/dev/stderr"
        exit 1
    }
}
