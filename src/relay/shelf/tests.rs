//! What a shelf finds while its disk takes nothing, and what becomes of a flight that never lands. No registry is asked.

use super::*;

const SIZE: u64 = 1000;

fn shelf(folder: &Path) -> Shelf {
    Shelf::open(folder, 10 * SIZE, Metrics::default()).unwrap()
}

fn reference() -> Reference {
    "r.example/digits:1".parse().unwrap()
}

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

#[tokio::test(start_paused = true)]
async fn what_a_full_disk_does_not_take_is_passed_on_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = shelf(folder.path());
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    shelf.0.unwritable(&mut shelf.0.state(), &full);
    assert!(matches!(shelf.find(&reference(), digest(1), SIZE), Found::NoRoom));
    tokio::time::advance(FULL).await;
    assert!(matches!(
        shelf.find(&reference(), digest(1), SIZE),
        Found::Fetch(..)
    ));
}

#[tokio::test]
async fn a_flight_that_is_dropped_fails_for_all_who_read_along_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = shelf(folder.path());
    let Found::Fetch(flight, mut first) = shelf.find(&reference(), digest(1), SIZE) else {
        panic!("nobody fetches it yet");
    };
    let Found::Here(mut second) = shelf.find(&reference(), digest(1), SIZE) else {
        panic!("it is on its way");
    };
    drop(flight);
    assert!(first.next().await.is_err() && second.next().await.is_err());
    drop((first, second));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(shelf.0.room.free(), 10 * SIZE, "the room is given back");
}
