//! Every differentiable op against finite differences, and its gradients against themselves at other thread counts.

mod channels;
mod check;
mod conv;
mod elementwise;
mod loss;
mod norm;
mod sampling;
