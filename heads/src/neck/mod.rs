//! Between backbone and head: from feature maps of different widths to a pyramid of one width.

pub mod fpn;
