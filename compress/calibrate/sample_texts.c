/* sample_texts: see sample_texts.h. A change of these changes the files that compress makes. */
#include "compress/calibrate/sample_texts.h"

#include <stddef.h>

const char *const xc_sample_texts[] = {
    "Yes.",
    "Where is Anna?",
    "I do not know.",
    "Please close the window.",
    "The train was late again this morning.",
    "She bought three apples, two pears and a loaf of bread.",
    "Nobody had told him that the shop closes at noon on Saturdays.",
    "The cat has been asleep on the piano since breakfast.",
    "Two children are playing football in the street while their mother watches.",
    "How much does a ticket to the city cost?",
    "It rained all night, but the sky was clear by six.",
    "The committee will publish its report on 12 March 2021.",
    "He has worked here since 1998 and never missed a day.",
    "What would you do if you had more time?",
    "Shares of the company fell 4.5 % after it warned of lower profits.",
    "The minister said that talks with the unions would begin next week.",
    "I loved the first half of the film, but the ending made no sense at all.",
    "This is the worst hotel we have ever stayed in!",
    "To install the program, unpack the archive and run the script in its first folder.",
    "If the value is zero, the function returns an error and leaves the list unchanged.",
    "Water boils at a lower temperature on a high mountain because the air presses less on it.",
    "The old lighthouse keeper counted the steps every evening, and every evening there were one hundred and ninety-four of them.",
    "My grandmother used to say that bread tastes best when you have carried the flour home yourself.",
    "The patient was given 20 mg twice a day and showed no side effects.",
    "Our neighbour grows tomatoes on the balcony.",
    "The clerk in the blue coat has lost the key again.",
    "Some birds are sitting on a wire above the field.",
    "The team won the match by two goals to one after extra time.",
    "Can anyone recommend a good book about the history of mathematics?",
    "Thanks, see you tomorrow :-)",
    "Der Zug nach Hamburg hat heute leider zwanzig Minuten Versp\xc3\xa4tung.",
    "Est-ce que tu peux me pr\xc3\xaater ton v\xc3\xa9lo demain matin ?",
    "Mi hermana vive en una casa peque\xc3\xb1""a cerca del mar.",
    "\xe4\xbb\x8a\xe5\xa4\xa9\xe5\xa4\xa9\xe6\xb0\x94\xe5\xbe\x88\xe5\xa5\xbd\xef\xbc\x8c\xe6\x88\x91\xe4\xbb\xac\xe5\x8e\xbb\xe5\x85\xac\xe5\x9b\xad\xe5\x90\xa7\xe3\x80\x82",
    "In the morning light the valley looked as if it had been painted: white houses, a thin grey road, and the river that nobody had ever "
    "managed to cross on horseback, winding slowly between the poplars until it was lost behind the hills. Further up, where the forest "
    "begins, there is a chapel whose bell is rung only twice a year, and people in the village still argue about the reason for it.",
    "The law came into force after both chambers had agreed on it; it lowers the tax on electricity, asks larger firms to report how much "
    "energy they use, and sets aside 300 million for the repair of schools. Critics say that it comes too late and that the money will not "
    "be enough, while supporters point out that nothing at all had been done in the ten years before.",
    NULL,
};
