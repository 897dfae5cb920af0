//! Where a result comes from: the machine, the time, and the command that gives it again.

use std::fmt;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};
use vgg_engine::EngineInfo;
use vgg_train::options::DEFAULT_SEED;
use vgg_train::recipe::{DEFAULT_RECIPE, recipe_row};
use vgg_train::{Config, SETTINGS};

/// What a network runs on.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// The processor's name for itself, if the system tells.
    pub processor: Option<String>,
    /// Such as `linux, x86_64`.
    pub system: String,
    /// Name of the kernels, such as `avx512`.
    pub tier: String,
    /// Format of the operands, such as `bf16`.
    pub precision: String,
    /// Number of threads that compute.
    pub threads: usize,
}

impl Machine {
    /// This machine, with an engine as it is.
    pub fn here(engine: &EngineInfo) -> Self {
        Self {
            processor: processor_name(),
            system: format!("{}, {}", std::env::consts::OS, std::env::consts::ARCH),
            tier: engine.tier.clone(),
            precision: engine.precision.clone(),
            threads: engine.threads,
        }
    }
}

/// The processor's name where Linux has it; other systems have no file for it.
fn processor_name() -> Option<String> {
    /// The first processor's lines are shorter.
    const ENOUGH: u64 = 1 << 16;
    let mut bytes = Vec::new();
    std::fs::File::open("/proc/cpuinfo").ok()?.take(ENOUGH).read_to_end(&mut bytes).ok()?;
    named_in(&String::from_utf8_lossy(&bytes))
}

fn named_in(cpuinfo: &str) -> Option<String> {
    let named =
        |line: &str| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned());
    cpuinfo.lines().find_map(named).filter(|name| !name.is_empty())
}

/// A moment; as text `2026-11-25 09:44 UTC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(SystemTime);

impl Moment {
    /// Now, by this machine's clock.
    pub fn now() -> Self {
        Self(SystemTime::now())
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (year, month, day) = date(seconds / 86_400);
        let minutes = seconds / 60;
        write!(f, "{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
    }
}

/// Year, month and day of the Gregorian calendar, so many days after 1970-01-01. Years are counted from
/// March, so that the leap day is the last of its year: then month `m` begins on day `(153 m + 2) / 5`.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    const DAYS_FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    let days = days + DAYS_FROM_MARCH_OF_YEAR_0;
    let (era, day) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = 400 * era + year + u64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day)
}

/// The command that repeats a run, with every option that differs from the default, and its length. A split
/// by chance with a seed or shares of one's own has no option: it needs the file `config.toml`.
pub fn command(config: &Config) -> String {
    let mut options: Vec<(String, String)> = Vec::new();
    let mut option = |name: &str, value: String, default: &str| {
        if value != default {
            options.push((name.to_owned(), value));
        }
    };
    let (network, run) = (&config.network, &config.run);
    option("data", config.data.source.clone(), "mnist");
    if config.data.source != "mnist" || [network.input.height, network.input.width] != [28, 28] {
        option("image-size", format!("{}x{}", network.input.height, network.input.width), "");
    }
    // With another network to start from, that network's are the defaults.
    let [arch, head] = if run.init_from.is_some() { ["", ""] } else { ["vgg13", "tutorial"] };
    option("arch", network.name.clone(), arch);
    option("head", network.head.clone(), head);
    option("recipe", config.recipe.name.to_string(), DEFAULT_RECIPE);
    let row = recipe_row(&config.recipe.name).ok();
    for setting in SETTINGS {
        let default = row.map_or_else(String::new, |row| setting.text(&row.recipe));
        option(&setting.option(), setting.text(&config.recipe), &default);
    }
    option("limit", config.data.limit.unwrap_or(0).to_string(), "0");
    option("freeze", run.freeze.to_string(), "0");
    option("init-from", run.init_from.as_ref().map_or_else(String::new, |from| from.model_dir.clone()), "");
    option(
        "batch-size",
        run.batch_size.to_string(),
        &row.map_or_else(String::new, |row| row.batch_size.to_string()),
    );
    option("steps", run.steps.to_string(), "");
    option("seed", run.seed.to_string(), &DEFAULT_SEED.to_string());
    // The default is what the machine at hand is fastest in.
    option("precision", run.precision.clone(), "");
    let options: Vec<String> =
        options.iter().map(|(name, value)| format!(" --{name} {}", quoted(value))).collect();
    let check = if run.overfit_batch { " --overfit-batch" } else { "" };
    format!("vgg train{}{check} --model-dir again", options.concat())
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=+,@".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::time::Duration;
    use vgg_arch::{Network, Shape};
    use vgg_train::config::{DataConfig, RunConfig};

    /// The default run on MNIST.
    pub(in crate::report) fn config() -> Config {
        let network = Network::new("vgg13", "tutorial", Shape::new(28, 28, 1), 10).unwrap();
        let data = DataConfig {
            limit: None,
            mean: None,
            deviation: None,
            split: None,
            source: "mnist".into(),
            fingerprint: "0123abcd".repeat(8),
            class_names: (0..10).map(|class| class.to_string()).collect(),
        };
        let run = RunConfig {
            seed: 1,
            batch_size: 128,
            steps: 1_100,
            precision: "f32".into(),
            freeze: 0,
            overfit_batch: false,
            init_from: None,
        };
        Config::new(&network, data, recipe_row(DEFAULT_RECIPE).unwrap().recipe.clone(), run)
    }

    #[test]
    fn the_command_has_what_differs() {
        assert_eq!(command(&config()), "vgg train --steps 1100 --precision f32 --model-dir again");
        let mut other = config();
        other.data.source = "/my data/it's".into();
        other.network.name = "vgg11".into();
        other.recipe.learning_rate = 0.02;
        (other.run.seed, other.run.steps) = (7, 60);
        assert_eq!(
            command(&other),
            "vgg train --data '/my data/it'\\''s' --image-size 28x28 --arch vgg11 --learning-rate 0.02 --steps 60 --seed 7 \
             --precision f32 --model-dir again"
        );
        other.recipe.augmentation.flip = true;
        other.run.freeze = 2;
        let shown = command(&other);
        assert!(
            shown.contains(" --learning-rate 0.02 --augmentation-flip true --freeze 2 --steps "),
            "{shown}"
        );
        (other.run.batch_size, other.run.steps, other.run.overfit_batch) = (50, 3_300, true);
        let shown = command(&other);
        assert!(shown.contains(" --batch-size 50 --steps 3300 "), "{shown}");
        assert!(shown.ends_with(" --overfit-batch --model-dir again"), "{shown}");
    }

    #[test]
    fn moments_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_827_696, "2000-02-29 12:34 UTC"),
            (1_709_251_199, "2024-02-29 23:59 UTC"),
            (1_709_251_200, "2024-03-01 00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
            (1_798_761_599, "2026-12-31 23:59 UTC"),
        ] {
            assert_eq!(Moment(UNIX_EPOCH + Duration::from_secs(seconds)).to_string(), text);
        }
    }

    #[test]
    fn the_processor_is_the_first_one_named() {
        let text = "processor\t: 0\nmodel name\t: A B(R) @ 2.0\nflags : x\n\nprocessor : 1\nmodel name: C\n";
        assert_eq!(named_in(text).as_deref(), Some("A B(R) @ 2.0"));
        assert_eq!(named_in("Hardware : x"), None);
    }
}
