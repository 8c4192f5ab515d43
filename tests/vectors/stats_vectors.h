/* Made by gen_stats.py: do not edit. */
#ifndef XC_TESTS_VECTORS_STATS_VECTORS_H
#define XC_TESTS_VECTORS_STATS_VECTORS_H

static const double num_plain_gold[] = {
    0x1.6786bf47be49ep-2, 0x1.bf70a6e2dee44p+1, 0x1.2fd7190f4fc5dp-1, -0x1.3c6d6914ac6dfp-1, 0x1.43b5016bbe1fep+0,
    0x1.7367dedf1690ap-4, -0x1.f304221109db0p-2, 0x1.d623a7faf3697p+0, 0x1.29f84b465df61p+0, 0x1.8b7431bd93a06p-4,
    -0x1.46ad33b6312bap+0, 0x1.a9296504a35bdp-4, 0x1.4f937609f5736p-4, 0x1.7c63962dbd75fp+0, 0x1.2143fd7e0cce6p-1,
    0x1.d9d833bf19fe6p+0, 0x1.9719059b56fecp-1, 0x1.d1be048b65c01p-1, 0x1.c079c235ccf39p-1, -0x1.c1398d6157d59p-3,
    -0x1.9215490c489bbp+0, 0x1.22a09a4c98ffcp-2, -0x1.699beeae5796bp-2, -0x1.b50f6728b7740p+0, -0x1.5cc7d4195900dp-1,
    -0x1.12a786c6941e0p+0, -0x1.5e129fdd9ac8fp+1, 0x1.1f173ecedb4a6p-1, 0x1.080a08cc1f1bdp-3, -0x1.7e9eff351d28bp-1,
    0x1.f8ee9f6ffffc3p-1, -0x1.1f97c4d31757fp-1, 0x1.2bed241d795cbp-3, -0x1.f11090dd46067p-1, 0x1.754cd4925a3bbp+0,
    0x1.bd908edf51f34p-1, 0x1.0179b858ddf59p+0, 0x1.4679b55feeab1p+0, -0x1.301faf6cef319p+1, 0x1.46528de7b5ccfp-1,
};
static const double num_plain_pred[] = {
    0x1.a6d5699b90b92p-3, 0x1.089f243b6bd3ap+2, -0x1.b00885922420ap+0, 0x1.0cb610d1d7bbcp-3, 0x1.c905c3c853780p-1,
    0x1.646d28e1677eap-2, -0x1.66d9fdb906f86p-2, 0x1.ce50a46878cf1p+0, 0x1.6630981e56b42p+1, 0x1.3298d13836e82p-2,
    -0x1.6706de8cc4dc6p+0, 0x1.8fb67eff945acp+0, -0x1.f32418bca8e54p-2, 0x1.26010221dd369p-1, -0x1.a09abae1b318cp-3,
    0x1.228dc74645accp+0, -0x1.45a07d88cf3eep-1, 0x1.4bbae095eb4dap-2, 0x1.ad656f9775ebbp+0, -0x1.ade019d0c07f7p+0,
    -0x1.538544a541a10p+0, -0x1.c830965458678p-3, -0x1.4b23a76a2f3cap-1, -0x1.55ecd9f667572p-1, 0x1.13b389a216580p-6,
    0x1.ae68c3ffe9fc0p-4, -0x1.200750da11edbp+0, -0x1.50a3406b41c14p+0, -0x1.028767d71f7e4p+0, 0x1.a6dd29975a4c2p+0,
    0x1.f96cb5ae018f2p-1, 0x1.b09819c82f6b4p+0, 0x1.f4cc5f096fbedp-3, -0x1.1fa16bd7d3d90p-4, 0x1.c2cd8c259abcdp-1,
    0x1.f991c5eaea856p-1, 0x1.2bcaf1267eeb2p+0, 0x1.c628b483d00c6p+0, -0x1.8ae5161f6fcbep+0, 0x1.37892a8587093p+1,
};
static const double num_ties_gold[] = {
    0x1.0000000000000p-1, 0x0.0p+0, 0x1.4000000000000p+1, 0x0.0p+0, 0x1.0000000000000p+0, 0x1.4000000000000p+1,
    0x1.0000000000000p+0, 0x1.8000000000000p+0, 0x0.0p+0, 0x0.0p+0, 0x1.0000000000000p+1, 0x1.8000000000000p+0,
    0x1.0000000000000p+1, 0x1.0000000000000p+0, 0x1.0000000000000p+0, 0x1.8000000000000p+0, 0x0.0p+0, 0x1.8000000000000p+0,
    0x1.0000000000000p+1, 0x1.0000000000000p+1, 0x1.0000000000000p-1, 0x1.4000000000000p+1, 0x1.0000000000000p+1,
    0x1.0000000000000p+1, 0x1.0000000000000p-1, 0x1.0000000000000p-1, 0x1.0000000000000p+1, 0x1.0000000000000p+1,
    0x1.8000000000000p+0, 0x0.0p+0, 0x1.8000000000000p+0, 0x1.0000000000000p-1, 0x1.0000000000000p-1, 0x1.0000000000000p-1,
    0x1.0000000000000p+1, 0x1.8000000000000p+0, 0x1.0000000000000p+1,
};
static const double num_ties_pred[] = {
    0x1.6666666666666p-1, 0x1.599999999999ap+1, -0x1.3333333333333p+0, 0x1.0000000000000p+0, -0x1.999999999999ap-4,
    0x1.ccccccccccccdp+0, 0x1.999999999999ap-3, 0x1.0000000000000p+0, 0x1.999999999999ap-1, 0x1.199999999999ap+1,
    -0x1.0000000000000p+1, -0x1.999999999999ap-4, 0x1.3333333333333p+0, -0x1.999999999999ap-2, 0x1.999999999999ap-1,
    0x1.3333333333333p-1, -0x1.999999999999ap-2, 0x1.999999999999ap-2, 0x1.999999999999ap-2, 0x1.999999999999ap-1,
    -0x1.6666666666666p-1, -0x1.999999999999ap-3, 0x1.4cccccccccccdp+0, -0x1.999999999999ap-2, -0x1.6666666666666p+0,
    0x1.999999999999ap-2, -0x1.2666666666666p+1, 0x1.999999999999ap-3, 0x1.999999999999ap+0, 0x1.999999999999ap-3,
    -0x1.199999999999ap+0, -0x1.999999999999ap-3, 0x1.0000000000000p+0, 0x1.e666666666666p+0, 0x1.999999999999ap-1,
    -0x1.ccccccccccccdp+0, 0x1.6666666666666p+0,
};
static const double num_offset_gold[] = {
    0x1.e847de6ce8140p+19, 0x1.e847efc92d198p+19, 0x1.e847f570e5d04p+19, 0x1.e8481a3beba6bp+19, 0x1.e847eb27e2c63p+19,
    0x1.e848093a8144ep+19, 0x1.e8481da8a4dedp+19, 0x1.e8481fae41ae7p+19, 0x1.e847e61088813p+19, 0x1.e847dd9d4f093p+19,
    0x1.e847f33e9922cp+19, 0x1.e84807e1a0caap+19, 0x1.e847f0e8fdf87p+19, 0x1.e848234cc58b3p+19, 0x1.e84807d93375cp+19,
    0x1.e84803fe9488dp+19, 0x1.e847d98a255a3p+19, 0x1.e848000bd0c5dp+19, 0x1.e847da20966b4p+19, 0x1.e847ba98187d8p+19,
    0x1.e847fcf4b56afp+19, 0x1.e847f1845bd0ap+19, 0x1.e847f1a8f2681p+19, 0x1.e847f88bc7215p+19, 0x1.e848372162d67p+19,
};
static const double num_offset_pred[] = {
    -0x1.29be266ef3898p-24, 0x1.684e71f2a1284p-22, 0x1.c909ef10fe6f5p-21, 0x1.df60ab0c3c3aap-20, 0x1.4c0d802ffb299p-24,
    0x1.cab2b1d3c4d3ep-20, 0x1.b51edf11723bcp-20, -0x1.9e75e4ea2f942p-21, 0x1.34fb9e3c27a73p-20, 0x1.c3fe579062b4fp-21,
    0x1.d3efbde9b7413p-22, -0x1.ca04c4af869cep-20, -0x1.7a179cd03e174p-21, 0x1.69f0b520ba786p-19, 0x1.fcf624afbd5bap-22,
    0x1.bfc5498713b52p-21, 0x1.728538739a6d3p-21, 0x1.dbe6e7b5c9bcbp-21, -0x1.969baa49fcef0p-24, -0x1.452dfc0810286p-22,
    -0x1.8b26773cf7e92p-22, 0x1.263a3a4ec6dffp-20, -0x1.057dcaf599dcbp-21, -0x1.a7d22624de82ap-22, -0x1.0c284e39f14d7p-19,
};
static const double num_reversed_gold[] = {
    0x0.0p+0, 0x1.0000000000000p+0, 0x1.0000000000000p+1, 0x1.8000000000000p+1, 0x1.0000000000000p+2, 0x1.4000000000000p+2,
    0x1.8000000000000p+2, 0x1.c000000000000p+2, 0x1.0000000000000p+3,
};
static const double num_reversed_pred[] = {
    -0x0.0p+0, -0x1.0000000000000p+0, -0x1.0000000000000p+3, -0x1.b000000000000p+4, -0x1.0000000000000p+6, -0x1.f400000000000p+6,
    -0x1.b000000000000p+7, -0x1.5700000000000p+8, -0x1.0000000000000p+9,
};
static const double num_two_rows_gold[] = {
    0x1.0000000000000p+0, 0x1.0000000000000p+1,
};
static const double num_two_rows_pred[] = {
    0x1.4000000000000p+2, 0x1.0000000000000p+2,
};
static const double num_constant_gold[] = {
    0x0.0p+0, 0x1.0000000000000p+0, 0x1.0000000000000p+1, 0x1.8000000000000p+1, 0x1.0000000000000p+2,
};
static const double num_constant_pred[] = {
    0x1.a000000000000p+1, 0x1.a000000000000p+1, 0x1.a000000000000p+1, 0x1.a000000000000p+1, 0x1.a000000000000p+1,
};
static const struct { const char *name; const double *gold, *pred; int n; double spearman, pearson, mse, mae, r2; } num_cases[] = {
    { "plain", num_plain_gold, num_plain_pred, 40, 0x1.3a8024e315ff7p-1, 0x1.4a91a23f022ccp-1, 0x1.24291db41975ap+0, 0x1.acc97b12ace8dp-1, 0x1.a64e449cd388cp-3 },
    { "ties", num_ties_gold, num_ties_pred, 37, -0x1.2a7b96e63b036p-3, -0x1.c551ba942f414p-3, 0x1.9f22983759f22p+1, 0x1.6bef650426bf0p+0, -0x1.f82b489d30202p+1 },
    { "offset", num_offset_gold, num_offset_pred, 25, 0x1.a95a95a95a95bp-4, 0x1.d71c381e8fd4cp-5, 0x1.d1a93ee0ca931p+39, 0x1.e847fa1a765a8p+19, -0x1.405e3b86fa081p+40 },
    { "reversed", num_reversed_gold, num_reversed_pred, 9, -0x1.0000000000000p+0, -0x1.d0cf98441caf6p-1, 0x1.9365555555555p+15, 0x1.2800000000000p+7, -0x1.e403333333333p+12 },
    { "two_rows", num_two_rows_gold, num_two_rows_pred, 2, -0x1.fffffffffffffp-1, -0x1.0000000000000p+0, 0x1.4000000000000p+3, 0x1.8000000000000p+1, -0x1.3800000000000p+5 },
    { "constant", num_constant_gold, num_constant_pred, 5, NAN, NAN, 0x1.c800000000000p+1, 0x1.8cccccccccccdp+0, -0x1.9000000000000p-1 },
};

static const int32_t cls_binary_gold[] = {
    1, 0, 1, 0, 1, 0, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1,
    1, 0, 0, 1, 0, 1, 1,
};
static const int32_t cls_binary_pred[] = {
    1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1,
    1, 0, 0, 1, 0, 1, 0,
};
static const int32_t cls_one_answer_gold[] = {
    1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0,
};
static const int32_t cls_one_answer_pred[] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};
static const int32_t cls_no_positive_gold[] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};
static const int32_t cls_no_positive_pred[] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};
static const int32_t cls_five_gold[] = {
    4, 1, 1, 1, 3, 4, 2, 4, 0, 0, 1, 3, 2, 4, 4, 3, 2, 0, 1, 3, 1, 2, 2, 4, 0, 4, 4, 4, 1, 1, 0, 0, 4, 0, 1, 0, 2, 3, 4, 0, 3, 4, 4,
    1, 2, 0, 0, 0, 4, 4, 0, 0, 3, 4, 1, 1, 3, 1, 2, 3,
};
static const int32_t cls_five_pred[] = {
    4, 1, 1, 1, 0, 2, 2, 4, 0, 1, 4, 1, 3, 4, 4, 3, 4, 0, 1, 3, 1, 2, 2, 4, 0, 4, 4, 3, 1, 1, 0, 0, 3, 0, 0, 2, 2, 3, 1, 1, 3, 4, 4,
    1, 2, 1, 0, 0, 2, 4, 0, 0, 3, 1, 1, 1, 3, 1, 2, 1,
};
static const int32_t cls_absent_gold[] = {
    0, 2, 2, 3, 2, 1, 1, 2, 0, 2, 0, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 2, 0, 3, 1, 0, 0, 2, 3, 2,
};
static const int32_t cls_absent_pred[] = {
    0, 5, 2, 5, 5, 5, 5, 2, 5, 5, 5, 1, 5, 0, 1, 5, 1, 1, 5, 5, 0, 5, 2, 5, 2, 5, 5, 5, 0, 5, 2, 3, 2,
};
static const struct { const char *name; int classes; const int32_t *gold, *pred; int n; double accuracy, f1, f1_macro, matthews; } cls_cases[] = {
    { "binary", 2, cls_binary_gold, cls_binary_pred, 50, 0x1.8f5c28f5c28f6p-1, 0x1.9191919191919p-1, 0x1.8f509efd077a6p-1, 0x1.21846e30f695dp-1 },
    { "one_answer", 2, cls_one_answer_gold, cls_one_answer_pred, 30, 0x1.bbbbbbbbbbbbcp-2, 0x0.0p+0, 0x1.3594d653594d6p-2, 0x0.0p+0 },
    { "no_positive", 2, cls_no_positive_gold, cls_no_positive_pred, 12, 0x1.0000000000000p+0, 0x0.0p+0, 0x1.0000000000000p+0, 0x0.0p+0 },
    { "five", 5, cls_five_gold, cls_five_pred, 60, 0x1.6eeeeeeeeeeefp-1, NAN, 0x1.6d21cfaf3253ep-1, 0x1.4b9fd6069ae7fp-1 },
    { "absent", 7, cls_absent_gold, cls_absent_pred, 33, 0x1.d1745d1745d17p-2, NAN, 0x1.eeeeeeeeeeeeep-2, 0x1.ebbba58ed569ap-2 },
};

static const struct { const char *gold, *pred; double precision, recall, f1, strict_precision, strict_recall, strict_f1; } tag_cases[] = {
    { "B-per|O|I-per O O O O I-per|B-per O O I-loc B-loc I-per O O O O O|I-per O I-loc O B-per O B-loc O B-per O I-per|B-per I-per B-loc B-loc I-loc B-loc I-per I-per I-loc",
      "B-per|O|I-per O O O O I-per|B-per I-per O B-per B-loc I-per O O O O I-per|I-loc B-per I-loc I-loc B-per O I-loc O B-per O I-per|B-per I-per B-loc B-loc I-loc B-loc I-per I-per O",
      0x1.6666666666666p-1, 0x1.79435e50d7943p-1, 0x1.6f96f96f96f97p-1, 0x1.745d1745d1746p-1, 0x1.999999999999ap-1, 0x1.8618618618619p-1 },
    { "O B-loc B-per I-loc O O|O B-loc B-per|I-loc I-loc I-loc I-per B-loc|O O O O I-per O I-per O|O O O I-misc I-misc I-per O I-loc O|O B-per O I-per O",
      "B-per B-loc B-per B-per I-loc O|O B-loc B-per|I-loc I-loc I-loc I-per B-loc|O O O I-loc I-per O O B-per|O O O B-per I-misc I-per O I-loc I-misc|O B-per O I-per O",
      0x1.3333333333333p-1, 0x1.999999999999ap-1, 0x1.5f15f15f15f16p-1, 0x1.3333333333333p-1, 0x1.0000000000000p+0, 0x1.7ffffffffffffp-1 },
    { "I-misc O O|B-per B-per B-per|O B-loc B-per B-loc I-loc B-loc B-per I-per I-per|I-misc I-per I-misc B-per I-loc B-per I-misc B-per O B-per|I-loc I-loc O O|B-loc",
      "I-per O O|B-per B-loc B-per|O B-loc B-per B-loc I-loc I-per B-per I-per I-per|I-misc I-per I-misc I-loc I-per B-per I-misc I-loc O B-per|I-loc I-loc O O|B-loc",
      0x1.6666666666666p-1, 0x1.6666666666666p-1, 0x1.6666666666666p-1, 0x1.ccccccccccccdp-1, 0x1.6276276276276p-1, 0x1.90b21642c8590p-1 },
    { "O B-loc O O|B-per I-per I-per O B-per O I-per|I-per I-per O O B-loc B-loc I-per O B-per B-loc|O O I-per I-loc O I-per|I-per O I-loc I-per B-loc O O B-per|B-per O O O I-loc B-per B-per I-loc B-per O",
      "O B-loc O O|B-per I-per I-per O B-per O B-per|I-per I-per O O B-loc B-loc I-per B-loc B-per B-loc|O O I-per I-loc O I-per|I-loc O I-loc I-per B-loc O O B-per|I-per O O O I-loc I-per B-per I-loc B-per O",
      0x1.d70a3d70a3d71p-1, 0x1.eaaaaaaaaaaabp-1, 0x1.e0a72f0539783p-1, 0x1.b13b13b13b13bp-1, 0x1.b13b13b13b13bp-1, 0x1.b13b13b13b13bp-1 },
    { "B-per O O I-loc O O O I-loc B-per B-loc B-loc|O I-misc O|B-per O I-misc B-per I-per|O I-misc O I-misc I-per I-loc I-loc I-per I-per I-per|B-loc O O I-loc I-loc B-per I-misc O I-loc|I-loc I-loc B-loc I-loc I-per O",
      "B-per O O I-loc O O O I-loc B-per B-loc B-loc|O I-misc O|B-per O I-misc B-per I-per|O I-misc O I-misc I-per I-loc I-loc I-per I-per I-per|B-loc I-loc I-misc I-misc I-loc B-per O O I-loc|I-loc I-misc B-per I-loc I-per O",
      0x1.70a3d70a3d70ap-1, 0x1.90b21642c8591p-1, 0x1.7ffffffffffffp-1, 0x1.8e38e38e38e39p-1, 0x1.8e38e38e38e39p-1, 0x1.8e38e38e38e39p-1 },
    { "I-loc O B-per|I-loc B-loc B-per I-per B-per O|I-loc I-loc|B-per B-per B-loc O I-loc|O O O O I-misc O O B-per|I-per B-per B-loc I-misc O O B-per O",
      "I-loc I-loc B-per|I-loc B-loc B-per B-loc B-per I-per|O I-loc|B-per B-per O I-misc I-loc|O O I-misc O I-misc O O I-misc|I-per B-per I-per I-misc B-loc O I-per I-per",
      0x1.ccccccccccccdp-2, 0x1.0000000000000p-1, 0x1.e50d79435e50ep-2, 0x1.c71c71c71c71cp-2, 0x1.745d1745d1746p-2, 0x1.9999999999999p-2 },
    { "B-loc O I-per I-per B-per|I-per O I-loc B-loc I-per I-per O I-per O|B-per I-per O B-per I-per I-loc I-per I-misc|I-loc O I-per|O B-loc|B-per I-loc B-per I-misc B-loc O O O I-loc O",
      "B-loc O I-per B-loc B-per|I-misc I-misc I-loc B-loc I-per I-per O I-misc B-per|O I-per O B-per I-per O I-per I-misc|I-loc O B-loc|O B-loc|B-per I-loc B-loc O B-loc O O O I-loc O",
      0x1.45d1745d1745dp-1, 0x1.45d1745d1745dp-1, 0x1.45d1745d1745dp-1, 0x1.45d1745d1745dp-1, 0x1.8e38e38e38e39p-1, 0x1.6666666666667p-1 },
    { "O B-per I-per O O B-per|O O I-per O B-loc O O|B-per B-per|I-per B-loc B-per O B-loc I-misc O O O O I-misc|B-per O O O B-loc I-loc I-misc B-loc B-per B-loc O|O I-per",
      "O B-per I-per O O B-per|O O B-per O B-per O O|B-per B-per|I-per B-loc B-per O B-loc I-misc I-misc O I-per O I-misc|B-per O O B-per I-per I-misc I-misc B-loc B-per B-loc I-misc|I-misc I-per",
      0x1.5d1745d1745d1p-1, 0x1.9435e50d79436p-1, 0x1.76a2576a2576ap-1, 0x1.9249249249249p-1, 0x1.b13b13b13b13bp-1, 0x1.a12f684bda12fp-1 },
    { "B-loc O|O I-per|B-per I-loc B-per O I-loc B-per|O I-per O O O O O I-loc B-loc I-per|I-per B-per O O O O I-per|I-per O I-per",
      "B-loc O|O O|B-per B-per B-per O I-loc B-per|O I-loc I-per B-per O O O I-loc B-loc I-per|I-per B-per O O O I-per I-misc|I-per O I-per",
      0x1.5555555555555p-1, 0x1.8000000000000p-1, 0x1.6969696969697p-1, 0x1.8000000000000p-1, 0x1.0000000000000p+0, 0x1.b6db6db6db6dbp-1 },
    { "O I-misc|B-per O I-per O O B-loc O B-per I-per I-loc O|B-loc B-per O I-misc I-loc I-per|O O|B-per B-loc|I-per O O O O",
      "I-loc I-misc|B-per O I-per I-loc B-per B-loc O B-per I-per I-loc O|I-per B-per O I-misc I-loc I-per|O O|B-per B-loc|I-misc O O O I-misc",
      0x1.5555555555555p-1, 0x1.b6db6db6db6dbp-1, 0x1.8000000000000p-1, 0x1.b6db6db6db6dbp-1, 0x1.b6db6db6db6dbp-1, 0x1.b6db6db6db6dbp-1 },
    { "O I-per O B-per I-per I-per|O B-loc O O O I-loc|I-per I-loc I-loc O B-per I-per O B-loc I-per|B-per O B-loc B-loc I-per|O|O B-loc I-per B-loc O I-per I-loc O I-per",
      "I-misc I-per O B-per I-per I-per|O B-per O O O I-loc|I-per I-loc I-loc O B-per I-per O O I-loc|B-per O B-per B-loc B-loc|O|O I-per I-per B-loc O I-per I-loc I-loc O",
      0x1.2d2d2d2d2d2d3p-1, 0x1.0d79435e50d79p-1, 0x1.1c71c71c71c71p-1, 0x1.4000000000000p-1, 0x1.1c71c71c71c72p-1, 0x1.2d2d2d2d2d2d3p-1 },
    { "O B-per B-loc B-per B-per B-loc I-loc B-loc B-loc I-loc|O O B-loc I-loc B-loc O I-misc O I-loc B-per|I-per I-per O O O I-misc O O|I-misc O|I-misc|O I-misc I-per I-per I-per B-per O O O O B-per",
      "B-per B-loc B-loc B-per B-per B-loc I-loc B-loc B-loc I-loc|O O B-loc I-loc B-loc O I-misc O I-loc B-per|O I-per O O O I-misc O O|I-misc O|O|O I-misc I-per I-per I-per B-loc O O O O I-loc",
      0x1.8000000000000p-1, 0x1.8000000000000p-1, 0x1.8000000000000p-1, 0x1.8000000000000p-1, 0x1.8000000000000p-1, 0x1.8000000000000p-1 },
    { "O O",
      "O O",
      0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0, 0x0.0p+0 },
    { "B-per I-loc I-loc",
      "B-per B-loc I-loc",
      0x1.0000000000000p+0, 0x1.0000000000000p+0, 0x1.0000000000000p+0, 0x1.0000000000000p-1, 0x1.0000000000000p+0, 0x1.5555555555555p-1 },
};

static const float head_x[] = {
    -0x1.2fdf0a0000000p-2f, 0x1.c13bee0000000p+0f, -0x1.6316f80000000p+0f, 0x1.5ecf5e0000000p-2f, 0x1.7bf9ec0000000p+0f,
    -0x1.0ce62c0000000p+0f, -0x1.23329a0000000p-2f, 0x1.12b3c40000000p-2f, -0x1.1c95a20000000p-2f, 0x1.c31ad40000000p-2f,
    0x1.3f8f080000000p+0f, -0x1.caafb00000000p-1f, 0x1.16b4f60000000p-1f, 0x1.37c8400000000p+1f, -0x1.3621cc0000000p+0f,
    0x1.6a46cc0000000p-1f, -0x1.3ed8600000000p-1f, -0x1.d423980000000p-1f, -0x1.92d83c0000000p-6f, -0x1.aeb74c0000000p+0f,
    -0x1.716f0e0000000p-1f, -0x1.0c453e0000000p+0f, -0x1.0c4a500000000p+0f, -0x1.89d1680000000p+0f, -0x1.68ac000000000p-3f,
    0x1.b4b1ea0000000p-2f, -0x1.a804dc0000000p-1f, 0x1.b55fee0000000p-3f, 0x1.e30e6e0000000p-1f, 0x1.1339a00000000p+0f,
    -0x1.533e720000000p-1f, 0x1.16d5780000000p-2f, 0x1.3d280c0000000p-3f, 0x1.55b5c80000000p-2f, -0x1.cc82540000000p-5f,
    0x1.50da0c0000000p-1f, 0x1.48e3fe0000000p-2f, 0x1.af81680000000p-1f, 0x1.d9e3980000000p-3f, -0x1.3b2a8e0000000p+0f,
    -0x1.c1acfe0000000p-4f, -0x1.310e0a0000000p-7f, 0x1.1932ec0000000p+0f, 0x1.4b186e0000000p+0f, -0x1.ccee320000000p-1f,
    -0x1.5cceda0000000p-3f, 0x1.628a8c0000000p-2f, -0x1.6e089e0000000p-1f, -0x1.6917e80000000p+0f, -0x1.14e5940000000p+0f,
    -0x1.bf4bdc0000000p+0f, 0x1.d9f3060000000p+0f, 0x1.f4216e0000000p+0f, 0x1.78b4c20000000p+0f, -0x1.2dc7820000000p+1f,
    0x1.eb2f520000000p-1f, 0x1.b2d5120000000p-2f, -0x1.b8ed020000000p-7f, 0x1.1443fc0000000p-3f, -0x1.b37f8a0000000p-4f,
    -0x1.b544d40000000p+0f, -0x1.81b6980000000p-1f, 0x1.c4ad620000000p+0f, -0x1.1934660000000p+1f, 0x1.06229e0000000p+1f,
    0x1.35d4180000000p-3f, -0x1.4c61700000000p+0f, 0x1.0de5cc0000000p+0f, -0x1.b4f0b60000000p+0f, 0x1.6c8bdc0000000p+0f,
    -0x1.795c4a0000000p+0f, 0x1.73f39a0000000p+0f, 0x1.33f8f80000000p+0f, -0x1.d02fcc0000000p-3f, 0x1.aed3740000000p+0f,
    -0x1.d686e00000000p-3f, 0x1.22c2420000000p-2f, 0x1.a5d0c00000000p+0f, -0x1.ca0b980000000p+0f, 0x1.33c2c40000000p-3f,
    0x1.4988b20000000p-3f, 0x1.cf9e340000000p-1f, -0x1.511c200000000p-2f, 0x1.8a01640000000p-3f, 0x1.014a780000000p+0f,
    0x1.67ed620000000p-1f, 0x1.dc7dde0000000p-6f, 0x1.0f4ecc0000000p-4f, 0x1.4b3e8a0000000p-1f, 0x1.d3733c0000000p-3f,
    -0x1.8d328a0000000p-2f, 0x1.a393200000000p-3f, -0x1.1cee9a0000000p+0f, 0x1.72d9c60000000p+0f, -0x1.ef58100000000p-1f,
    0x1.cd77080000000p-2f, 0x1.f33fac0000000p+0f, 0x1.ae4dfa0000000p+0f, -0x1.57c58e0000000p-4f, -0x1.4714cc0000000p-5f,
    -0x1.68864e0000000p-2f, 0x1.df6bb00000000p-1f, 0x1.43e09e0000000p-4f, -0x1.a757dc0000000p-5f, 0x1.c3e95a0000000p-5f,
    0x1.94ee160000000p-2f, -0x1.1f07ac0000000p-2f, 0x1.3a26560000000p+0f, -0x1.c142100000000p-1f, -0x1.0a00ca0000000p+0f,
    0x1.1eb7ac0000000p+0f, 0x1.db56c60000000p-2f, 0x1.0988a40000000p+0f, -0x1.3a8f360000000p+1f, 0x1.1641ba0000000p+0f,
    0x1.e52de20000000p+0f, 0x1.8941da0000000p-5f, -0x1.92d21a0000000p-3f, 0x1.e2e8c20000000p-3f, 0x1.d466800000000p-1f,
    0x1.b7c62a0000000p-1f, 0x1.b203500000000p-3f, -0x1.245ab80000000p+0f, -0x1.a7d9320000000p-3f, 0x1.2966740000000p-1f,
    0x1.5b19d40000000p+0f, 0x1.273d260000000p-3f, 0x1.b698080000000p+0f, 0x1.3efac40000000p-1f, -0x1.f6e3820000000p-2f,
    0x1.fd8a0c0000000p-2f, 0x1.1640200000000p-4f, -0x1.9a567c0000000p-1f, -0x1.74fd520000000p-2f, -0x1.f6b65e0000000p-1f,
    -0x1.8c39d40000000p-1f, 0x1.fcaa100000000p+0f, -0x1.f08ae00000000p-1f, -0x1.1fe65a0000000p-4f, -0x1.f70aa00000000p-1f,
    0x1.87b4020000000p+0f, -0x1.7bab940000000p+0f, -0x1.b6cbe00000000p-2f, -0x1.b751220000000p+0f, -0x1.7e928a0000000p-4f,
    -0x1.5698180000000p+0f, 0x1.35874c0000000p-2f, 0x1.0beb740000000p-1f, -0x1.0b3daa0000000p+1f, -0x1.9572540000000p+0f,
    0x1.ce0e280000000p-1f, -0x1.04bcae0000000p+0f, -0x1.528f0a0000000p-3f, 0x1.e006a00000000p-2f, -0x1.2c8ee80000000p-1f,
    0x1.faa48e0000000p+0f, -0x1.20f58a0000000p-2f, 0x1.3d10ac0000000p-5f, 0x1.d594c40000000p-2f, -0x1.02692c0000000p+0f,
    0x1.c2fbac0000000p-2f, -0x1.b7d6b80000000p-2f, -0x1.3128c80000000p+0f, 0x1.f854660000000p-2f, -0x1.2e293e0000000p-1f,
    -0x1.9a64140000000p+0f, -0x1.0ba4c60000000p-1f, 0x1.fcb2fa0000000p-2f, 0x1.0f0bf60000000p-1f, -0x1.80c2ca0000000p+0f,
    0x1.e0b4b60000000p+0f, -0x1.3395720000000p-1f, 0x1.ea05540000000p-3f, -0x1.c2f3a00000000p-2f, -0x1.b640120000000p+0f,
    -0x1.ee45f20000000p+0f, 0x1.4643000000000p-1f, 0x1.da044c0000000p-1f, 0x1.4275980000000p+0f, 0x1.f6ea1c0000000p-2f,
    -0x1.057c840000000p-1f, 0x1.f230be0000000p+0f, 0x1.7b12ae0000000p+0f, 0x1.0034e40000000p+0f, -0x1.f0f8400000000p-1f,
    0x1.5f91a60000000p-3f, -0x1.973eb00000000p-2f, 0x1.d23c7a0000000p-1f, 0x1.5d2b460000000p+0f, -0x1.ab01bc0000000p-2f,
    0x1.9be5140000000p+0f, 0x1.116e760000000p-5f, 0x1.7739160000000p-1f, -0x1.af58d00000000p-4f, -0x1.a6ab0e0000000p-2f,
    0x1.0335d00000000p-3f, -0x1.a38fd80000000p-2f, -0x1.34e6e60000000p-2f, 0x1.ba5a800000000p+0f, -0x1.13cc220000000p-1f,
    0x1.20fcb20000000p-2f, -0x1.93ae360000000p-1f, -0x1.4e3c000000000p+0f, -0x1.a6fe560000000p+0f, -0x1.ae7f600000000p-1f,
    0x1.ab722c0000000p+1f, 0x1.7a12940000000p-1f, -0x1.f5d9fa0000000p+0f, 0x1.29fe800000000p-2f, -0x1.7237320000000p-2f,
    0x1.1efe1c0000000p+0f, 0x1.bc0e240000000p-2f, 0x1.41d27c0000000p-1f, 0x1.1f81260000000p+1f, -0x1.0adb080000000p-1f,
    0x1.9138220000000p+0f, 0x1.47f5760000000p-1f, 0x1.3ea57e0000000p-1f, -0x1.5f536c0000000p-2f, -0x1.ca41320000000p-2f,
    0x1.4b58da0000000p-1f, 0x1.4eaa900000000p+0f, 0x1.6a81f00000000p+0f, -0x1.441d760000000p-3f, -0x1.1470240000000p+0f,
    -0x1.3743140000000p+0f, -0x1.f361220000000p-1f, 0x1.80933e0000000p-3f, 0x1.788ea20000000p+0f, 0x1.a93dbc0000000p-3f,
    -0x1.c820340000000p+0f, 0x1.23f24c0000000p-1f, -0x1.64cf480000000p-2f, 0x1.243d400000000p-7f, 0x1.2b3ada0000000p-3f,
    -0x1.be8c8c0000000p-5f, 0x1.85db3e0000000p-1f, 0x1.bae7ec0000000p-1f, 0x1.1ccaf00000000p-2f, -0x1.95f12a0000000p-2f,
    0x1.43cc640000000p-1f, 0x1.3a98e00000000p+1f, 0x1.1e11900000000p-1f, -0x1.e4b5880000000p-1f, 0x1.12a4300000000p+0f,
    -0x1.6a25e80000000p-2f, 0x1.6a109a0000000p+0f, -0x1.39f9520000000p-2f, 0x1.9b09a00000000p+0f, 0x1.5a1d680000000p+0f,
    0x1.d182b00000000p-1f, -0x1.419bd60000000p-1f, -0x1.35739a0000000p-1f, 0x1.df039a0000000p+0f, 0x1.27a2d00000000p-2f,
    0x1.3775160000000p-2f, -0x1.a3f2ba0000000p-6f, -0x1.b928820000000p-2f, -0x1.dc597a0000000p-4f, -0x1.e7a6c80000000p-7f,
    0x1.3d81220000000p+0f, -0x1.c1c2840000000p+0f, 0x1.011bf40000000p-4f, -0x1.f30c560000000p-4f, 0x1.a55b040000000p-1f,
    -0x1.aa24500000000p-1f, -0x1.263c920000000p-1f, -0x1.0599e60000000p+1f, 0x1.fd41e00000000p-1f, 0x1.001c6a0000000p+0f,
    -0x1.f3b5a20000000p-2f, -0x1.5117440000000p-5f, -0x1.712b900000000p+0f, 0x1.a80b660000000p-4f, -0x1.a99b120000000p-2f,
    -0x1.cb5a380000000p+0f, -0x1.0f0ec20000000p-1f, -0x1.52ceea0000000p-1f, 0x1.fefba40000000p-3f, 0x1.5862940000000p-3f,
    -0x1.3c1f1a0000000p-1f, 0x1.4d42080000000p-1f, -0x1.0f85200000000p+1f, -0x1.7f246c0000000p-2f, -0x1.4bf0960000000p-1f,
    0x1.488bf20000000p-1f, -0x1.41ad960000000p+0f, -0x1.5c11fe0000000p-1f, -0x1.ed41540000000p-1f, 0x1.5175fc0000000p+0f,
    -0x1.4f01600000000p+1f, 0x1.7f43a20000000p-2f, 0x1.2781c00000000p-1f, 0x1.a244080000000p-4f, 0x1.d77f7a0000000p-1f,
    0x1.f667d80000000p-3f, -0x1.b4731a0000000p-1f, -0x1.0ccd020000000p-1f, 0x1.a5442c0000000p-3f, 0x1.8bf1f00000000p-2f,
};
static const double head_y[] = {
    0x1.2de346c070260p+1, 0x1.89672c1341fabp+1, 0x1.ce46970143a1cp+2, 0x1.c810bdfa0e9f7p+1, 0x1.6a6d0f6d7f4fep-1,
    0x1.0f5f5c6d2b374p+1, 0x1.327e9c2a58be6p+1, 0x1.6ef753ee04dbap+2, 0x1.9816e5c00dd2fp+1, 0x1.e91c2a151e7e5p-1,
    0x1.8d49e891a34e2p+2, 0x1.2a0e00bf5cc3cp+1, 0x1.53c2342a4380bp+1, 0x1.8496d5b1564cep+0, 0x1.7ca5937c4c283p+1,
    0x1.babfd2d6b7da1p+1, 0x1.684ba71e4970cp+1, 0x1.40cc5dd9c6826p+2, 0x1.a97a1426e1f04p-1, 0x1.710c424510054p+2,
    0x1.ab156a78f2770p+1, 0x1.f6da8667d9935p+1, 0x1.dd7df6212649dp+0, 0x1.421cdfca88f54p+2, 0x1.cfa99c204b669p+0,
    0x1.472ba43c4f28ep+2, 0x1.b536069c4704cp+1, 0x1.30cf21a722929p+0, 0x1.4881fd2db6b6fp+0, 0x1.a4a69ff7977fap-2,
    0x1.e86b6a623f114p+1, 0x1.61c8c3e7bc749p+2, 0x1.f35b8cd523e32p+0, 0x1.5070736b06a96p+1, 0x1.b96d135e75f7cp+1,
    0x1.5409047a83ceap+2, 0x1.959bb74fac2bcp+2, 0x1.e5cc6aa2c5394p+2, 0x1.1ec4d7799fe7ap+2, 0x1.c13eee8be78a4p+1,
    0x1.6547f4f318924p-2, 0x1.d054a2361e857p+1, 0x1.fea4d4dabb76cp+2, 0x1.b8722902b17f4p+1, 0x1.d7f45dca54500p+1,
    0x1.521668921c8d6p+1, 0x1.eb76dd8568756p+0, 0x1.df36b7f2a98eap+1, 0x1.bb08ee04cb572p+1, 0x1.4e675415da8c4p+2,
    0x1.e54b96086911cp+1, 0x1.e12b014c2d56ep+1, 0x1.0a6550954cc65p+2, 0x1.f978f7b330f6cp-3, 0x1.6e91350d33e2dp+0,
    0x1.585d9f76fd398p+1, 0x1.013dda140a103p+0, -0x1.380d9efd2d1a8p-2, 0x1.e8801b68e401dp+0, 0x1.504b464a65d91p+1,
};
static const int32_t head_binary[] = {
    0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1,
    1, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0,
};
static const int32_t head_multi[] = {
    1, 2, 3, 0, 3, 3, 3, 0, 3, 0, 3, 0, 2, 2, 2, 2, 0, 0, 3, 0, 1, 3, 2, 0, 2, 0, 0, 1, 2, 3, 0, 0, 0, 3, 0, 1, 0, 0, 3, 0, 2, 0, 0,
    0, 3, 3, 1, 0, 2, 1, 0, 2, 2, 2, 0, 1, 2, 2, 1, 2,
};
enum { HEAD_N = 60, HEAD_D = 5, HEAD_CLASSES = 4 };
static const double ridge_1[] = {
    0x1.18b4b71c9855dp-1, 0x1.d2ff501917b5bp-3, 0x1.05e2c2a60dbedp+0, 0x1.d6ff86e927dc3p-1, -0x1.74de026b919f6p-4,
    0x1.80bd3308a1cdap+1,
};
static const double ridge_30[] = {
    0x1.7cb6b0e3a0e02p-2, 0x1.8c01c54f5fbfcp-3, 0x1.5a3794cd18524p-1, 0x1.4b741f5f701c3p-1, -0x1.fa70d984909e3p-4,
    0x1.88a6ff85bbb85p+1,
};
static const double binary_1[] = {
    0x1.ae3d8714b3e69p+0, 0x1.38cd89eb45ad4p+0, -0x1.a5eece79cd8ebp-2, -0x1.c975c1c4a2018p-2, -0x1.0f13759c628edp+1,
    0x1.a08da292121d5p-4,
};
static const double multi_1[] = {
    0x1.309389fa5b98fp+0, 0x1.eef7af3d18c47p-3, -0x1.44b88f7c54adep-6, 0x1.e307f6cc3a7d7p-2, -0x1.60a921a0f3016p-1,
    0x1.595ca3690f6c1p-1, -0x1.3ba1ba15f5431p+0, 0x1.e9b15bf2978acp-1, -0x1.d44e465e293d3p-2, 0x1.84166f52b72efp-2,
    0x1.b64574467e448p-2, -0x1.4e497a7acd0c0p+0, 0x1.c8a5c20ef6591p-3, -0x1.5acec18c5fdcap-2, -0x1.515669bb8ef44p-2,
    -0x1.2477fbb6a42e9p+0, 0x1.4a944fa3b4d4ap+0, 0x1.6c63b8eb2b983p-2, -0x1.7034413229084p-3, -0x1.b807e6fbadcd9p-1,
    0x1.9cf81c88bebe7p-1, 0x1.2ac188bb9f0e4p-2, -0x1.07d11be4dae52p+0, 0x1.1a08ea2de9c1ap-2,
};
static const double binary_100[] = {
    0x1.ba957326d8ab5p+2, 0x1.851b20f252f84p+2, -0x1.6747e15f380f1p+1, -0x1.1efb389e91b1bp+1, -0x1.4918dbdcf72d1p+3,
    -0x1.171093fb6a9ccp-1,
};
static const double multi_100[] = {
    0x1.fac81e39be0e2p+0, 0x1.cf532ba26ecedp-3, 0x1.65b698415b9e7p-4, 0x1.83bdcad2a3551p-1, -0x1.452411fceae43p+0,
    0x1.53d273fa7aef8p+0, -0x1.2da72050c8e08p+1, 0x1.04c06de266b24p+1, -0x1.d66efc9b70c6bp-1, 0x1.d0c445d137475p-1,
    0x1.485eb45fe7eb6p-1, -0x1.67e0307c4a6f4p+1, 0x1.631a51e60a153p-2, -0x1.25e8c8f5974f4p-1, -0x1.399f223d5d16cp-1,
    -0x1.0e985bc63fbeep+1, 0x1.3c1e9cce2834bp+1, 0x1.145fe0197c447p-1, 0x1.efe37b944b383p-6, -0x1.b076dcbe4f972p+0,
    0x1.71aba5e851372p+0, 0x1.cbbebcea48bdep-2, -0x1.d74881cf597b4p+0, 0x1.e37bf9e2b795dp-1,
};

#endif
