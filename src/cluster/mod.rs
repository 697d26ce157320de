//! The only writers, server-side apply and status patches, and what reads objects for them.
//! They decide nothing.
