//! What a network is built for. It is given to the constructor, never to `forward`.

/// How batch norm behaves while training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormMode {
    /// Normalise by the statistics of the batch and hand them back through
    /// [`BatchStats`](crate::params::BatchStats).
    Batch,
    /// Normalise by the running statistics (`norm_eval` of mmdetection); weight and bias still train.
    Frozen,
}

/// How a dense 3×3 convolution of stride 1 is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Conv3x3 {
    /// As a plain convolution: the smaller rounding error.
    Direct,
    /// Winograd F(4×4, 3×3): about 2.5 times faster, rounding error about 35 times that of `Direct` per layer.
    #[default]
    Winograd,
}

/// What a network is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Differentiable ops on the parameters of the store.
    Train {
        /// Batch norm by batch or by running statistics.
        norm: NormMode,
    },
    /// Batch norms folded and weights packed once, at construction; no gradients. Later changes of the store are
    /// not seen: build a new network.
    Infer {
        /// Algorithm of the dense 3×3 convolutions.
        conv3x3: Conv3x3,
    },
}

impl Purpose {
    /// Training with batch statistics.
    pub const TRAIN: Self = Self::Train { norm: NormMode::Batch };
    /// Training with the running statistics (`norm_eval`).
    pub const TRAIN_FROZEN: Self = Self::Train { norm: NormMode::Frozen };
    /// The fastest inference.
    pub const INFER: Self = Self::Infer { conv3x3: Conv3x3::Winograd };
    /// Inference with direct convolutions.
    pub const INFER_DIRECT: Self = Self::Infer { conv3x3: Conv3x3::Direct };

    /// Whether parameters take part in back-propagation.
    pub fn is_train(self) -> bool {
        matches!(self, Self::Train { .. })
    }
}
