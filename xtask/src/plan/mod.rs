//! Pure: request + workspace + host → a plan that can be printed. Nothing here reads a file.
