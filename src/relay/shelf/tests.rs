//! What a shelf keeps and lets go of, without a registry: flights are landed by hand.
