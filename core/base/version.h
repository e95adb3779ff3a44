/* The version of Rille; CMakeLists.txt reads it from here. */
#ifndef RL_BASE_VERSION_H
#define RL_BASE_VERSION_H

#define RILLE_VERSION "0.1.0"

#endif
