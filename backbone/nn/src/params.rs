//! The parameter store: every tensor of a network by its checkpoint name, in declaration order.
//!
//! A network is declared while it is constructed: a [`Builder`] composes names (`stages` + `0` + `weight`), and the
//! first [`param`](Builder::param) of a name creates it. So the struct tree is the checkpoint tree, and a second
//! network for another [`Purpose`] shares the values of the first. Parameters keep the PyTorch layout.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use candle_core::{DType, Device, Tensor, Var};

use crate::batch_stats::{BatchStat, BatchStats};
use crate::checkpoint::StoredTensor;
use crate::error::{Error, Result, ResultExt};
use crate::init::Init;
use crate::purpose::{Conv3x3, Purpose};

/// What happens to a parameter in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Gets a gradient and is moved by the optimiser.
    Trainable,
    /// A weight that stays as it is: detached, no gradient.
    Frozen,
    /// State that is not a weight: running statistics, counters. Never tracked.
    Buffer,
}

/// One named tensor of a store. Cloning shares the storage.
#[derive(Clone, Debug)]
pub struct Param {
    /// Full name, as in the checkpoint.
    pub name: String,
    /// The value; `var.as_tensor()` is what networks for training compute with.
    pub var: Var,
    /// What happens to it in training.
    pub role: Role,
}

impl Param {
    /// Shape in PyTorch layout.
    pub fn shape(&self) -> &[usize] {
        self.var.dims()
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.var.elem_count()
    }
}

#[derive(Debug, Default)]
struct Params {
    /// New values are not drawn: they will be overwritten.
    blank: bool,
    list: Vec<Param>,
    index: HashMap<String, usize>,
}

impl Params {
    fn get(&self, name: &str) -> Option<&Param> {
        self.index.get(name).map(|&i| &self.list[i])
    }

    fn push(&mut self, param: Param) {
        self.index.insert(param.name.clone(), self.list.len());
        self.list.push(param);
    }
}

/// All tensors of a network, ordered by declaration.
#[derive(Debug)]
pub struct ParamStore {
    params: Arc<Mutex<Params>>,
    device: Device,
    seed: u64,
}

impl ParamStore {
    /// An empty store. `seed` determines the initial value of every parameter (together with its name).
    pub fn new(device: Device, seed: u64) -> Self {
        Self { params: Arc::default(), device, seed }
    }

    /// An empty store for values that will be loaded: weights start at 0, because drawing millions of numbers only to
    /// overwrite them takes longer than reading the file.
    pub fn blank(device: Device) -> Self {
        let store = Self::new(device, 0);
        lock(&store.params).blank = true;
        store
    }

    /// The builder of a whole network. Each call has its own [`BatchStats`] recorder.
    pub fn root(&self, purpose: Purpose) -> Builder {
        Builder {
            params: self.params.clone(),
            device: self.device.clone(),
            seed: self.seed,
            prefix: String::new(),
            purpose,
            weight_role: Role::Trainable,
            stats: BatchStats::default(),
            values: None,
        }
    }

    /// The builder of a network for inference whose parameters have the values of `tensors` instead of the store's, which
    /// says what shapes they must have. Each value is read when its layer is packed, and then forgotten.
    pub fn root_reading(&self, tensors: Vec<StoredTensor>, conv3x3: Conv3x3) -> Builder {
        let values = tensors.into_iter().map(|t| (t.name.clone(), t)).collect();
        Builder { values: Some(Arc::new(values)), ..self.root(Purpose::Infer { conv3x3 }) }
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Seed of the initial values.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// All parameters and buffers in declaration order (handles: the values are shared, not copied).
    pub fn params(&self) -> Vec<Param> {
        lock(&self.params).list.clone()
    }

    /// The parameters that the optimiser moves, in declaration order.
    pub fn trainable(&self) -> Vec<Param> {
        lock(&self.params).list.iter().filter(|p| p.role == Role::Trainable).cloned().collect()
    }

    /// Names in declaration order.
    pub fn names(&self) -> Vec<String> {
        lock(&self.params).list.iter().map(|p| p.name.clone()).collect()
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        lock(&self.params).list.len()
    }

    /// Whether nothing was declared yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of elements over all tensors of a role.
    pub fn count(&self, role: Role) -> usize {
        lock(&self.params).list.iter().filter(|p| p.role == role).map(Param::count).sum()
    }

    /// Number of weights, trainable or frozen: what papers call the parameter count.
    pub fn weight_count(&self) -> usize {
        self.count(Role::Trainable) + self.count(Role::Frozen)
    }

    /// The parameter of that name.
    ///
    /// # Errors
    /// `Weights` with the nearest name when there is none.
    pub fn get(&self, name: &str) -> Result<Param> {
        let params = lock(&self.params);
        params.get(name).cloned().ok_or_else(|| {
            let hint = crate::keymap::did_you_mean(name, params.list.iter().map(|p| p.name.as_str()));
            Error::weights(format!("there is no parameter `{name}`{hint}"))
        })
    }

    /// Overwrites a value in place: networks for training see it at once. Converts the type and the device.
    ///
    /// # Errors
    /// `Weights` for an unknown name or another shape.
    pub fn set(&self, name: &str, value: &Tensor) -> Result<()> {
        let param = self.get(name)?;
        if param.shape() != value.dims() {
            return Err(shape_error(name, param.shape(), value.dims()));
        }
        write(&param, value)
    }

    /// Gives every weight (not the buffers) the role that `role_of` returns for its name. Networks built before keep
    /// the old roles.
    ///
    /// # Errors
    /// `Config` when a weight would become a buffer.
    pub fn set_roles(&self, mut role_of: impl FnMut(&str, Role) -> Role) -> Result<()> {
        let mut params = self.params();
        for param in params.iter_mut().filter(|p| p.role != Role::Buffer) {
            // the lock is not held: `role_of` may look into the store
            param.role = role_of(&param.name, param.role);
            if param.role == Role::Buffer {
                return Err(Error::config(format!("{}: a weight cannot become a buffer", param.name)));
            }
        }
        let mut stored = lock(&self.params);
        for (stored, new) in stored.list.iter_mut().zip(params) {
            stored.role = new.role;
        }
        Ok(())
    }

    /// A store of the same names, roles and values with its own memory (an EMA copy, a snapshot).
    ///
    /// # Errors
    /// `Internal` when a copy fails.
    pub fn deep_copy(&self) -> Result<Self> {
        let mut copy = Params::default();
        for param in &lock(&self.params).list {
            let var = Var::from_tensor(&param.var.as_detached_tensor().copy()?)?;
            copy.push(Param { name: param.name.clone(), var, role: param.role });
        }
        Ok(Self { params: Arc::new(Mutex::new(copy)), device: self.device.clone(), seed: self.seed })
    }

    /// Commits the batch statistics of a step: `new = (1 − momentum) · old + momentum · batch`, and counts the batch
    /// in `num_batches_tracked` where there is one. PyTorch's default momentum is 0.1.
    ///
    /// # Errors
    /// `Weights` when a layer has no running statistics in this store.
    pub fn commit_batch_stats(&self, stats: &[BatchStat], momentum: f64) -> Result<()> {
        for BatchStat { layer, mean, var } in stats {
            for (field, batch) in [("running_mean", mean), ("running_var", var)] {
                let param = self.get(&format!("{layer}.{field}"))?;
                let old = param.var.as_detached_tensor();
                let new = ((old * (1.0 - momentum))? + (batch.detach() * momentum)?)?;
                write(&param, &new)?;
            }
            let counter = format!("{layer}.num_batches_tracked");
            let counter = lock(&self.params).get(&counter).cloned();
            if let Some(counter) = counter {
                let seen: i64 = counter.var.to_scalar().context(|| &counter.name)?;
                write(&counter, &Tensor::full(seen + 1, (), &self.device)?)?;
            }
        }
        Ok(())
    }
}

/// Declares and looks up the tensors of one module. Cheap to clone; keeps the store alive.
#[derive(Clone, Debug)]
pub struct Builder {
    params: Arc<Mutex<Params>>,
    device: Device,
    seed: u64,
    prefix: String,
    purpose: Purpose,
    weight_role: Role,
    stats: BatchStats,
    /// What is used instead of the store's values; only for `Infer`.
    values: Option<Arc<HashMap<String, StoredTensor>>>,
}

impl Builder {
    /// The builder of a child module: `b.sub("stages").sub(0)` is `stages.0`.
    pub fn sub(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: self.full_name(name), ..self.clone() }
    }

    /// The same place, with new weights declared [`Role::Frozen`].
    pub fn frozen(&self) -> Self {
        Self { weight_role: Role::Frozen, ..self.clone() }
    }

    /// `prefix.name`, the name in the checkpoint.
    pub fn full_name(&self, name: impl std::fmt::Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }

    /// Name of this module, empty at the root.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What the network is built for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The recorder of batch statistics, shared by all builders of one [`ParamStore::root`] call.
    pub fn batch_stats(&self) -> BatchStats {
        self.stats.clone()
    }

    /// A weight, in PyTorch layout: declared with `init` if the name is new. For `Train` the variable's tensor
    /// (detached if frozen), for `Infer` a detached tensor on the same storage.
    ///
    /// # Errors
    /// `Weights` when the name exists with another shape or type, or as a buffer.
    pub fn param(&self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let param = self.declare(name, shape, init, self.weight_role)?;
        if let Some(values) = &self.values {
            return read(values, &param);
        }
        let tracked = self.purpose.is_train() && param.role == Role::Trainable;
        Ok(if tracked { param.var.as_tensor().clone() } else { param.var.as_detached_tensor() })
    }

    /// State that is not a weight (running statistics, counters); never tracked.
    ///
    /// # Errors
    /// `Weights` when the name exists with another shape or type, or as a weight.
    pub fn buffer(&self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let param = self.declare(name, shape, init, Role::Buffer)?;
        match &self.values {
            Some(values) => read(values, &param),
            None => Ok(param.var.as_detached_tensor()),
        }
    }

    fn declare(&self, name: &str, shape: &[usize], init: Init, role: Role) -> Result<Param> {
        let name = self.full_name(name);
        let mut params = lock(&self.params);
        if let Some(param) = params.get(&name) {
            if param.shape() != shape {
                return Err(shape_error(&name, shape, param.shape()));
            }
            if (param.role == Role::Buffer) != (role == Role::Buffer) || param.var.dtype() != init.dtype() {
                let got = (param.role, param.var.dtype());
                let expected = (role, init.dtype());
                return Err(Error::weights(format!("{name}: expected {expected:?}, the store has {got:?}")));
            }
            return Ok(param.clone());
        }
        let var = if params.blank && init.dtype() == DType::F32 {
            Var::zeros(shape, DType::F32, &self.device) // pages that nobody has touched, unlike those of a copy
        } else {
            Var::from_tensor(&init.tensor(self.seed, &name, shape, &self.device)?)
        };
        let var = var.context(|| &name)?;
        let param = Param { name, var, role };
        params.push(param.clone());
        Ok(param)
    }
}

/// A panic while the lock is held leaves the list consistent (single pushes), so a poisoned lock stays usable.
fn lock(params: &Mutex<Params>) -> MutexGuard<'_, Params> {
    params.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The value of a parameter among tensors; of a network that they were checked against.
fn read(values: &HashMap<String, StoredTensor>, param: &Param) -> Result<Tensor> {
    let Some(tensor) = values.get(&param.name) else {
        return Err(Error::weights(format!("{}: has no value", param.name)));
    };
    if tensor.shape != param.shape() {
        return Err(shape_error(&param.name, param.shape(), &tensor.shape));
    }
    tensor.to_tensor(param.var.dtype(), param.var.device())
}

fn shape_error(name: &str, expected: &[usize], got: &[usize]) -> Error {
    Error::weights(format!("{name}: expected shape {expected:?}, got {got:?}"))
}

fn write(param: &Param, value: &Tensor) -> Result<()> {
    let dtype: DType = param.var.dtype();
    let value = value.detach().to_device(param.var.device())?.to_dtype(dtype)?;
    // `Var::set` refuses a tensor on its own storage, which a conversion to the same type returns: copy and try again
    param.var.set(&value).or_else(|_| param.var.set(&value.copy()?)).context(|| &param.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn values(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn declare_net(b: &Builder) -> Result<(Tensor, Tensor)> {
        let stage = b.sub("stages").sub(0);
        let weight = stage.param("weight", &[2, 3], Init::Normal { std: 1.0 })?;
        let mean = stage.buffer("running_mean", &[2], Init::Zeros)?;
        stage.buffer("running_var", &[2], Init::Ones)?;
        stage.buffer("num_batches_tracked", &[], Init::Int(0))?;
        b.frozen().param("fixed", &[1], Init::Ones)?;
        Ok((weight, mean))
    }

    #[test]
    fn names_follow_the_tree_and_keep_declaration_order() {
        let store = ParamStore::new(Device::Cpu, 7);
        declare_net(&store.root(Purpose::TRAIN)).unwrap();
        let expected = ["weight", "running_mean", "running_var", "num_batches_tracked"];
        let mut expected: Vec<String> = expected.iter().map(|n| format!("stages.0.{n}")).collect();
        expected.push("fixed".into());
        assert_eq!(store.names(), expected);
        assert_eq!((store.weight_count(), store.count(Role::Buffer), store.trainable().len()), (7, 5, 1));
        assert_eq!(store.get("stages.0.num_batches_tracked").unwrap().var.dtype(), DType::I64);
    }

    #[test]
    fn only_trainable_weights_of_train_networks_are_tracked() {
        let store = ParamStore::new(Device::Cpu, 7);
        let (weight, mean) = declare_net(&store.root(Purpose::TRAIN)).unwrap();
        assert!(weight.track_op() && !mean.track_op());
        assert!(!store.root(Purpose::TRAIN).param("fixed", &[1], Init::Ones).unwrap().track_op());
        let (infer, _) = declare_net(&store.root(Purpose::INFER)).unwrap();
        assert!(!infer.track_op());
        store.set("stages.0.weight", &Tensor::zeros((2, 3), DType::F64, &Device::Cpu).unwrap()).unwrap();
        assert_eq!((values(&weight), values(&infer)), (vec![0.0; 6], vec![0.0; 6]), "values are shared");
        store.set_roles(|name, _| store.get(name).map_or(Role::Trainable, |_| Role::Frozen)).unwrap();
        assert!(store.set_roles(|_, _| Role::Buffer).is_err());
        assert!(!declare_net(&store.root(Purpose::TRAIN)).unwrap().0.track_op());
        assert!(store.trainable().is_empty());
    }

    #[test]
    fn a_blank_store_draws_nothing() {
        let store = ParamStore::blank(Device::Cpu);
        let (weight, _) = declare_net(&store.root(Purpose::TRAIN)).unwrap();
        assert_eq!(values(&weight), [0.0; 6]);
        assert_eq!(values(&store.get("stages.0.running_var").unwrap().var), [0.0; 2]);
    }

    #[test]
    fn a_second_declaration_must_agree() {
        let store = ParamStore::new(Device::Cpu, 7);
        let b = store.root(Purpose::TRAIN);
        b.param("w", &[2, 3], Init::Zeros).unwrap();
        let e = b.param("w", &[3, 2], Init::Zeros).unwrap_err();
        assert_eq!(
            (e.kind(), e.to_string().as_str()),
            (ErrorKind::Weights, "w: expected shape [3, 2], got [2, 3]")
        );
        assert_eq!(b.buffer("w", &[2, 3], Init::Zeros).unwrap_err().kind(), ErrorKind::Weights);
        let e = store.get("v").unwrap_err().to_string();
        assert!(e.contains("`v`") && e.contains("did you mean `w`"), "{e}");
    }

    #[test]
    fn initial_values_do_not_depend_on_order() {
        let draw = |names: [&str; 2]| {
            let store = ParamStore::new(Device::Cpu, 3);
            for n in names {
                store.root(Purpose::TRAIN).param(n, &[4, 4], Init::XavierUniform).unwrap();
            }
            values(&store.get("a").unwrap().var)
        };
        assert_eq!(draw(["a", "b"]), draw(["b", "a"]));
    }

    #[test]
    fn batch_statistics_are_committed_in_order() {
        let store = ParamStore::new(Device::Cpu, 7);
        let b = store.root(Purpose::TRAIN);
        declare_net(&b).unwrap();
        let t = |v: f32| Tensor::new(&[v, v], &Device::Cpu).unwrap();
        b.batch_stats().push("stages.0", t(1.0), t(3.0));
        b.sub("other").batch_stats().push("stages.0", t(2.0), t(5.0));
        let stats = b.batch_stats().take();
        assert_eq!((stats.len(), b.batch_stats().take().len()), (2, 0));
        store.commit_batch_stats(&stats, 0.1).unwrap();
        let close = |name: &str, want: f32| {
            let got = values(&store.get(name).unwrap().var)[0];
            assert!((got - want).abs() < 1e-6, "{name}: {got} vs {want}");
        };
        close("stages.0.running_mean", 0.9 * 0.1 + 0.2);
        close("stages.0.running_var", 0.9 * (0.9 + 0.3) + 0.5);
        let counter = store.get("stages.0.num_batches_tracked").unwrap();
        assert_eq!(counter.var.to_scalar::<i64>().unwrap(), 2);
        assert_eq!(
            store
                .commit_batch_stats(&[BatchStat { layer: "x".into(), mean: t(0.), var: t(0.) }], 0.1)
                .unwrap_err()
                .kind(),
            ErrorKind::Weights
        );
    }

    #[test]
    fn a_deep_copy_has_its_own_memory() {
        let store = ParamStore::new(Device::Cpu, 7);
        let (weight, _) = declare_net(&store.root(Purpose::TRAIN)).unwrap();
        let copy = store.deep_copy().unwrap();
        let before = values(&weight);
        store.set("stages.0.weight", &weight.zeros_like().unwrap()).unwrap();
        assert_eq!(values(&copy.get("stages.0.weight").unwrap().var), before);
        assert_eq!(copy.names(), store.names());
        // setting a parameter to itself is harmless
        store.set("fixed", &store.get("fixed").unwrap().var.as_detached_tensor()).unwrap();
    }
}
