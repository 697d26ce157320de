//! Faults and loads, each on a real API server with operators that are processes of their own: what they are asked has the
//! right answer or none, and they recover by themselves. Nothing here is played but the network between the two.

pub mod bed;
mod certificates;
mod leader;
mod load;
mod many;
mod overload;
mod policies;
mod rolling;
mod silence;
mod slow;
mod unreadable;
mod wire;
