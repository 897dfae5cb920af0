//! The configuration of a run, and a file of settings, which has the same keys.

use crate::{check_message, scratch};
use std::fs;
use vgg_train::{Config, TrainOptions};

/// A `config.toml`, and the same bytes as a file of settings.
///
/// # Panics
/// When the reader does what it must not.
pub fn config(data: &[u8]) {
    scratch::with_folder("run", |run| {
        fs::write(run.join("config.toml"), data).expect("the temporary folder takes a file");
        let path = run.join("config.toml");
        if let Err(error) = TrainOptions::new("model").with_settings_of(&path) {
            check_message(&error, "config.toml");
        }
        let model_dir = run.into();
        match Config::load(&model_dir) {
            Ok(config) => {
                let config = config.expect("the file is there");
                let network = config.build_network().expect("a network that was checked");
                assert_eq!((network.classes, network.input), (config.network.classes, config.network.input));
                assert_eq!(config.data.class_names.len(), network.classes);
                fs::remove_file(run.join("config.toml")).expect("a file of ours can be removed");
                config.save(&model_dir).expect("what was loaded can be saved");
                let again = Config::load(&model_dir)
                    .expect("what was saved can be loaded")
                    .expect("the file is there");
                assert_eq!(again, config);
                assert_eq!(config.differences(&again).expect("it can be written"), None);
            }
            Err(error) => check_message(&error, "config.toml"),
        }
    });
}
