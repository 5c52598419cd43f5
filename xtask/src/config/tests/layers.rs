//! Repositories, shadowing, settings.

use super::*;
