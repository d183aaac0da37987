#define REAL double
#include "entries.h"
