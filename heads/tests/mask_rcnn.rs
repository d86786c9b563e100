//! Mask R-CNN on batches that lack something: objects, masks, proposals.

use candle_core::{Device, Tensor};
use care_backbone::{BackboneConfig, CareConfig};
use care_heads::mask_rcnn::{MaskRcnn, MaskRcnnConfig};
use care_heads::{Detector, Draw, ErrorKind, ImageInfo, Images, NetworkConfig};
use care_nn::{ParamStore, Purpose, Role, recipe};
use care_types::{BoxXyxy, ClassIndex, DetTarget, Segmentation};

const SIDE: u32 = 64;

fn config() -> MaskRcnnConfig {
    let NetworkConfig::MaskRcnn(mut config) =
        NetworkConfig::preset("mask_rcnn_care_xs").unwrap().with_num_classes(2)
    else {
        unreachable!("a Mask R-CNN")
    };
    let care = CareConfig {
        depths: [1; 4],
        feat_dims: [12, 12, 24, 24],
        mem_dims: [4, 4, 8, 8],
        att_head_dim: [1, 1, 8, 8],
        ..CareConfig::xs()
    };
    config.backbone = BackboneConfig::Care(care);
    config.neck.out_channels = 16;
    config.rpn.feat_channels = 16;
    config.roi.bbox_head.fc_channels = 16;
    config.roi.mask_head.conv_channels = 16;
    config.roi.sampler.num = 16;
    config
}

fn images(pictures: usize) -> Images {
    let side = SIDE as usize;
    let pixels = recipe::uniform("mask_rcnn", "pixels", &[pictures, side, side, 3], 0.0, 1.5).unwrap();
    Images::new(pixels, vec![ImageInfo::whole(SIDE, SIDE); pictures]).unwrap().with_draw(Draw { seed: 7 })
}

fn target(objects: &[([f32; 4], bool, bool)]) -> DetTarget {
    let mut target = DetTarget::default();
    for &(b, crowd, masked) in objects {
        let [x0, y0, x1, y1] = b.map(f64::from);
        let mask = Segmentation::Polygons(vec![vec![x0, y0, x1, y0, x1, y1, x0, y1]]);
        target.push(BoxXyxy::from(b), ClassIndex(1), crowd, masked.then_some(mask));
    }
    target
}

/// Losses, gradients by name and the layers that recorded statistics.
fn step(targets: &[DetTarget]) -> (Vec<(&'static str, f32)>, Vec<String>, Vec<String>) {
    let store = ParamStore::new(Device::Cpu, 3);
    let root = store.root(Purpose::TRAIN);
    let net = MaskRcnn::new(&root, &config()).unwrap();
    let losses = net.losses(&images(targets.len()), targets).unwrap();
    let parts = losses.iter().map(|(name, v)| (name, v.to_scalar::<f32>().unwrap())).collect();
    let grads = losses.total().unwrap().backward().unwrap();
    let trained = store.params().into_iter().filter(|p| p.role == Role::Trainable);
    let finite = |t: &Tensor| t.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().is_finite();
    let without = trained.filter(|p| !grads.get(&p.var).is_some_and(finite)).map(|p| p.name).collect();
    let recorded = root.batch_stats().take().into_iter().map(|s| s.layer).collect();
    (parts, without, recorded)
}

#[test]
fn whatever_is_missing_losses_are_finite_and_every_parameter_has_a_gradient() {
    let object = ([8.0, 8.0, 40.0, 44.0], false, true);
    let (unmasked, crowd) = ((object.0, false, false), (object.0, true, true));
    let table: [(&str, Vec<DetTarget>, bool); 5] = [
        ("objects", vec![target(&[object])], true),
        ("nothing", vec![target(&[]), target(&[])], false),
        ("one picture without", vec![target(&[object]), target(&[])], true),
        ("objects without masks", vec![target(&[unmasked])], false),
        ("crowds only", vec![target(&[crowd])], false),
    ];
    for (what, targets, has_masks) in table {
        let (losses, without, recorded) = step(&targets);
        assert!(losses.iter().all(|(_, v)| v.is_finite()), "{what}: {losses:?}");
        assert_eq!(losses.len(), 5, "{what}");
        assert!(without.is_empty(), "{what}: no gradient for {without:?}");
        let of_masks = recorded.iter().any(|layer| layer.contains("mask_head"));
        assert_eq!(of_masks, has_masks, "{what}: statistics of the mask head come from masks only");
        let mask_loss = losses.iter().find(|l| l.0 == "loss_mask").unwrap().1;
        assert_eq!(mask_loss > 0.0, has_masks, "{what}: {mask_loss}");
    }
}

#[test]
fn the_same_draw_gives_the_same_bits_at_any_thread_count() {
    let targets =
        vec![target(&[([8.0, 8.0, 40.0, 44.0], false, true), ([20.0, 5.0, 60.0, 33.0], false, true)])];
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| step(&targets).0)
    };
    let one = run(1);
    assert_eq!(run(3), one);
}

#[test]
fn impossible_settings_and_targets_are_named() {
    let error = |change: fn(&mut MaskRcnnConfig)| {
        let mut config = config();
        change(&mut config);
        let store = ParamStore::new(Device::Cpu, 0);
        MaskRcnn::new(&store.root(Purpose::TRAIN), &config).err().unwrap()
    };
    type Change = fn(&mut MaskRcnnConfig);
    let table: [(Change, &str); 5] = [
        (|c| c.roi.sampler.pos_fraction = 1.5, "roi.sampler"),
        (|c| c.rpn.sampler.num = 0, "rpn.sampler"),
        (|c| c.roi.box_coder.stds[0] = 0.0, "roi.box_coder"),
        (|c| c.roi.finest_scale = 0.0, "roi.finest_scale"),
        (|c| c.rpn.anchors.strides[0] = 8, "strides"),
    ];
    for (change, words) in table {
        let e = error(change);
        assert_eq!(e.kind(), ErrorKind::Config);
        assert!(e.to_string().contains(words), "{e}");
    }
    let store = ParamStore::new(Device::Cpu, 0);
    let net = MaskRcnn::new(&store.root(Purpose::TRAIN), &config()).unwrap();
    let flat = target(&[([8.0, 8.0, 8.0, 44.0], false, true)]);
    assert_eq!(net.losses(&images(1), &[flat]).unwrap_err().kind(), ErrorKind::Input);
}
