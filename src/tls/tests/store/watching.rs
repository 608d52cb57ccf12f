use std::collections::BTreeSet;
use std::fs;

use omnid_config::Spanned;
use omnid_hub::Hub;
use omnid_tls::TlsConfig;

use crate::support::{config, listed, made, put, shown, store};

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_renewed_file_comes_into_use() {
    let folder = tempfile::tempdir().unwrap();
    let pair = made(&["old.test"]).write(folder.path(), "a");
    let store = store(&config(vec![listed(pair)]));
    assert!(store.refresh().is_empty(), "nothing has changed");
    made(&["new.test"]).write(folder.path(), "a");
    assert_eq!(store.refresh(), names(&["new.test"]));
    assert_eq!(shown(&store, "any.test").await.unwrap(), ["new.test"]);
    assert!(store.refresh().is_empty());
}

#[tokio::test]
async fn a_broken_file_leaves_the_old_one_in_use_and_a_repaired_one_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = made(&["old.test"]).write(folder.path(), "a");
    let store = store(&config(vec![listed((cert.clone(), key.clone()))]));
    let new = made(&["new.test"]);
    // Half written, then written without its key, then gone.
    let half = &new.cert[..new.cert.len() / 2];
    for text in [half, "", &new.cert] {
        put(&cert, text);
        for _ in 0..3 {
            assert!(store.refresh().is_empty());
            assert_eq!(shown(&store, "any.test").await.unwrap(), ["old.test"]);
        }
    }
    fs::remove_file(&cert).unwrap();
    assert!(store.refresh().is_empty());
    assert_eq!(shown(&store, "any.test").await.unwrap(), ["old.test"]);

    put(&cert, &new.cert);
    put(&key, &new.key);
    assert_eq!(store.refresh(), names(&["new.test"]));
    assert_eq!(shown(&store, "any.test").await.unwrap(), ["new.test"]);
}

#[tokio::test]
async fn a_folder_gains_and_loses_certificates() {
    let folder = tempfile::tempdir().unwrap();
    made(&["b.test"]).write(folder.path(), "b");
    let store = store(&TlsConfig {
        directory: Some(Spanned::from(folder.path().to_owned())),
        ..TlsConfig::default()
    });
    let (cert, key) = made(&["a.test"]).write(folder.path(), "a");
    assert_eq!(store.refresh(), names(&["a.test"]));
    assert_eq!(shown(&store, "a.test").await.unwrap(), ["a.test"]);
    // The first by name is the default, as it would be after a restart.
    assert_eq!(shown(&store, "any.test").await.unwrap(), ["a.test"]);

    // A pair that is gone for a moment was only being renewed.
    fs::remove_file(&key).unwrap();
    assert!(store.refresh().is_empty());
    made(&["a.test", "more.test"]).write(folder.path(), "a");
    assert_eq!(store.refresh(), names(&["a.test", "more.test"]));

    fs::remove_file(&cert).unwrap();
    assert!(store.refresh().is_empty());
    assert_eq!(store.refresh(), names(&["a.test", "more.test"]));
    assert_eq!(shown(&store, "a.test").await.unwrap(), ["b.test"]);
    assert_eq!(store.list().len(), 1);

    // One that comes broken is taken when it is whole.
    let late = made(&["late.test"]);
    put(&folder.path().join("late.key"), "not yet");
    put(&folder.path().join("late.crt"), &late.cert);
    assert!(store.refresh().is_empty() && store.refresh().is_empty());
    put(&folder.path().join("late.key"), &late.key);
    assert_eq!(store.refresh(), names(&["late.test"]));
}

#[tokio::test(start_paused = true)]
async fn the_watch_looks_by_itself_and_tells_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let pair = made(&["old.test"]).write(folder.path(), "a");
    let store = store(&config(vec![listed(pair)]));
    let hub = Hub::new();
    let mut news = hub.events().subscribe();
    let watching = tokio::spawn({
        let (store, hub) = (store.clone(), hub.clone());
        async move { store.watch(&hub).await }
    });
    made(&["new.test"]).write(folder.path(), "a");
    let published = news.next().await.unwrap();
    assert_eq!(published.event.topic(), "certificate.changed");
    assert_eq!(store.list()[0].names, ["new.test"]);
    watching.abort();
}
