//! What the streams of endpoints mean.
