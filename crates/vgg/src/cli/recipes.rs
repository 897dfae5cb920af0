//! The recipes side by side, for `vgg info --recipes`.

use serde::Serialize;
use std::fmt;
use vgg::train::{DEFAULT_RECIPE, RECIPES, Recipe, RecipeRow, SETTINGS};

/// Every recipe with its values.
#[derive(Serialize)]
pub(super) struct Recipes {
    default: &'static str,
    recipes: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    summary: &'static str,
    batch_size: usize,
    epochs: u64,
    #[serde(flatten)]
    recipe: &'static Recipe,
}

impl Recipes {
    /// The table of recipes.
    pub(super) fn new() -> Self {
        let row = |row: &'static RecipeRow| Row {
            summary: row.summary,
            batch_size: row.batch_size,
            epochs: row.epochs,
            recipe: &row.recipe,
        };
        Self { default: DEFAULT_RECIPE, recipes: RECIPES.iter().map(row).collect() }
    }
}

impl fmt::Display for Recipes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn Fn(&Row) -> String| {
            write!(f, "{name:<24}")?;
            self.recipes.iter().try_for_each(|row| write!(f, "{:>17}", value(row)))?;
            writeln!(f)
        };
        line(f, "", &|row| row.recipe.name.to_string())?;
        line(f, "batch_size", &|row| row.batch_size.to_string())?;
        line(f, "epochs", &|row| row.epochs.to_string())?;
        for setting in SETTINGS {
            line(f, setting.key, &|row| setting.text(row.recipe))?;
        }
        writeln!(f, "\nTrain with one of them: vgg train --recipe NAME (without: {})", self.default)?;
        writeln!(f, "Replace a value by its option, such as --augmentation-shift 3, or by a file:")?;
        writeln!(f, "--config FILE with the keys above in [recipe], batch_size and epochs in [run].")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_eighty_columns_and_has_every_value() {
        let text = Recipes::new().to_string();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let words = |key: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(&format!("{key} "))).unwrap();
            line.split_whitespace().skip(1).map(str::to_owned).collect()
        };
        assert_eq!(words("learning_rate"), ["0.001", "0.04", "0.04"]);
        assert_eq!(words("schedule"), ["constant", "one-cycle", "one-cycle"]);
        for setting in SETTINGS {
            let values = words(setting.key);
            assert!(
                values.len() == RECIPES.len() && values.iter().all(|value| !value.is_empty()),
                "{values:?}"
            );
        }
    }
}
