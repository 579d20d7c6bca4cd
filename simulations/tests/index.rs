//! The index on a disk that fails: bugs that `lone-node` found, each by itself.

use grapevine_simulations::disk::Disk;
use grapevine_storage::index::{Day, Index, IndexOptions};

const OPTIONS: IndexOptions = IndexOptions { map_bytes: 1 << 20 };

#[test]
fn day_made_by_a_try_that_failed_survives_a_power_loss_after_one_that_did_not() {
    let day = Day::of(0);
    for seed in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::create(dir.path(), 0, seed).unwrap();
        let root = disk.data_dir().join("index");
        disk.during(|| {
            let index = Index::open(&root, OPTIONS).unwrap();
            disk.set(|faults| faults.failing_syncs = 1);
            assert!(index.day_or_create(day).is_err(), "the first sync of a new day fails");
            index.day_or_create(day).unwrap();
        });
        disk.lose_power(0).unwrap();
        assert_eq!(Index::open(&root, OPTIONS).unwrap().days().unwrap(), [day], "seed {seed}");
    }
}

#[test]
fn day_that_a_full_disk_left_short_is_made_anew_and_not_taken_for_a_corrupt_one() {
    let day = Day::of(0);
    let mut failed = 0;
    for room in (0..64 << 10).step_by(1000) {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::create(dir.path(), 0, 0).unwrap();
        disk.during(|| {
            let index = Index::open(&disk.data_dir().join("index"), OPTIONS).unwrap();
            disk.set(|faults| faults.room = Some(room));
            failed += u32::from(index.day_or_create(day).is_err());
            disk.set(|faults| faults.room = None);
            index.day_or_create(day).unwrap();
            assert_eq!(index.take_set_aside(), [], "with room for {room} bytes");
        });
    }
    assert!(failed > 0, "there was always room");
}
