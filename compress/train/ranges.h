/* ranges: the most that a number of a training may be, whether an option or a recipe gives it. */
#ifndef XC_COMPRESS_TRAIN_RANGES_H
#define XC_COMPRESS_TRAIN_RANGES_H

#define XC_MOST_EPOCHS 100000
#define XC_MOST_UPDATES 1000000000 /* of a stage, between measurements, between masks, between checkpoints */
#define XC_MOST_BATCH 10000000     /* tokens, rows */
#define XC_MOST_BATCHES 100000     /* of an update */
#define XC_MOST_TOKENS 1000000     /* of a text */
#define XC_MOST_PATIENCE 1000000
#define XC_MOST_COPIES 1000        /* of a text, augmented */
#define XC_MOST_RATE 1000
#define XC_MOST_DECAY 1000         /* of weights */
#define XC_MOST_NORM 1e9           /* of a gradient that is not cut */
#define XC_MOST_DROPPED 0.99       /* dropout, label smoothing */
#define XC_MOST_AVERAGE 0.999999   /* decay of the moving average */
#define XC_MOST_TEMPERATURE 1000

#endif
