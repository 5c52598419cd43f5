//! What a build did, for people and as JSON.
