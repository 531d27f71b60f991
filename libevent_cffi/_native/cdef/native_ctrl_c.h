/* Ctrl-C while a loop of the main thread runs: csrc/ctrl_c.c */

void lev_ctrl_c_forget(void);
void lev_ctrl_c_begin(int guarded);
void lev_ctrl_c_wakes(int fd);
void lev_ctrl_c_keep(int keep);
int lev_ctrl_c_is_stale(void);
int lev_ctrl_c_end(void);
