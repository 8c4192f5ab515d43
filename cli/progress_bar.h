/* progress_bar: the library's progress callbacks on stderr: a bar with rate and time left on a terminal, a plain line every few seconds
 * elsewhere, nothing when quiet. */
#ifndef XC_CLI_PROGRESS_BAR_H
#define XC_CLI_PROGRESS_BAR_H

#include <stdbool.h>
#include <stdint.h>

#include "xcompress/progress.h"

struct cli_progress {
    struct xc_progress callbacks; /* give &p.callbacks to the library */
    bool quiet, terminal;
    char what[64], note[96];
    double started, shown; /* seconds, monotonic */
};

/* Callbacks are set also when quiet: cancellation still works. */
void cli_progress_init(struct cli_progress *p, bool quiet);

/* Ends the last stage: a bar is wiped. Call before results are printed. */
void cli_progress_done(struct cli_progress *p);

/* Wipes a bar that is on the screen, before anything else is written to stderr. */
void cli_progress_clear(void);

#endif
