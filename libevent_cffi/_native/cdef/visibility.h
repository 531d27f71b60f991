/* event2/visibility.h has nothing for a user */


