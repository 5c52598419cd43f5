//! See `arch` for the contract.
