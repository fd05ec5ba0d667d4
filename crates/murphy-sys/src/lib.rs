//! Every kernel interface Murphy uses, and every unsafe block.
