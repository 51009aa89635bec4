/*
 * control: the main thread of `bulkhead run`: start, signals, drain, exit code.
 */
#ifndef BULKHEAD_CONTROL_CONTROL_H
#define BULKHEAD_CONTROL_CONTROL_H

#include "config/config.h"

/*
 * options stay for as long as it runs. Runs until told to stop. 0: drained; 1: could not start; 2:
 * the configuration is wrong (each error has been printed to stderr).
 */
int control_run(const char *config_path, const struct config_options *options);

#endif
