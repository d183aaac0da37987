#define REAL float
#include "entries.h"
