//! dialling
