//! Whether a network is as often right as it is confident (Guo et al. 2017, "On calibration of modern
//! neural networks").

/// Bins of confidence, all of one width; as many as that paper takes.
pub const BINS: usize = 15;

/// Answers by their confidence: the probability of the class that was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    bins: [Bin; BINS],
}

/// The answers of one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Number of answers.
    pub answers: usize,
    /// Those that were right.
    pub right: usize,
    /// Sum of their confidences.
    pub confidence: f64,
}

impl Calibration {
    /// Adds an answer with a confidence from 0 to 1.
    pub fn add(&mut self, confidence: f64, is_right: bool) {
        let bin = &mut self.bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
        bin.answers += 1;
        bin.right += usize::from(is_right);
        bin.confidence += confidence;
    }

    /// The bins, those of small confidence first.
    pub fn bins(&self) -> &[Bin; BINS] {
        &self.bins
    }

    /// The expected calibration error: the mean over all answers of the distance between the
    /// confidence and the accuracy of their bin. 0 when there is no answer.
    pub fn error(&self) -> f64 {
        let answers: usize = self.bins.iter().map(|bin| bin.answers).sum();
        let distance = |bin: &Bin| (bin.right as f64 - bin.confidence).abs();
        self.bins.iter().map(distance).sum::<f64>() / answers.max(1) as f64
    }

    /// How much more confident the answers are than they are right, on the mean over all of them; below 0
    /// when they are less. 0 when there is no answer.
    pub fn overconfidence(&self) -> f64 {
        let answers: usize = self.bins.iter().map(|bin| bin.answers).sum();
        let excess = self.bins.iter().map(|bin| bin.confidence - bin.right as f64).sum::<f64>();
        excess / answers.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_the_hand() {
        let mut calibration = Calibration::default();
        assert_eq!(calibration.error(), 0.0);
        // The last bin: mean confidence 0.975, accuracy 0.5. The bin of 0.5: 0.5 and 1.
        calibration.add(1.0, true);
        calibration.add(0.95, false);
        calibration.add(0.5, true);
        let expected = (2.0 * (0.975 - 0.5) + (1.0 - 0.5)) / 3.0;
        assert!((calibration.error() - expected).abs() < 1e-12, "{}", calibration.error());
        assert!((calibration.overconfidence() - 0.45 / 3.0).abs() < 1e-12, "{calibration:?}");
        assert_eq!(calibration.bins()[14], Bin { answers: 2, right: 1, confidence: 1.95 });
        assert_eq!(calibration.bins()[7], Bin { answers: 1, right: 1, confidence: 0.5 });
    }
}
