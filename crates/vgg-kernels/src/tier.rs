//! Instruction-set tiers: which exist, which this processor has, and which one to run.
//!
//! `VGG_MAX_ISA` caps the tier; `VGG_REQUIRE_ISA` makes the absence of a tier a failure, so that a
//! test run on a machine without it cannot pass unnoticed.

#[cfg(target_arch = "x86_64")]
use crate::product16::amx;
use std::fmt;
use std::str::FromStr;

/// A set of instructions that kernels are written for, from the slowest to the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Plain Rust, vectorised by the compiler for whatever it builds for.
    Portable,
    /// x86-64 with AVX2 and FMA: 256-bit vectors.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL: 512-bit vectors and 32 registers.
    Avx512,
    /// The same with AVX-512 BF16, which multiplies bf16.
    Avx512Bf16,
    /// The same with AMX for bf16, which multiplies tiles, on Linux.
    Amx,
}

impl Tier {
    /// Every tier, slowest first.
    pub const ALL: [Tier; 5] = [Tier::Portable, Tier::Avx2, Tier::Avx512, Tier::Avx512Bf16, Tier::Amx];

    /// The name in messages, options and environment variables.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Portable => "portable",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
            Tier::Avx512Bf16 => "avx512-bf16",
            Tier::Amx => "amx",
        }
    }

    /// Whether this processor and its operating system can run the tier.
    pub fn is_available(self) -> bool {
        match self {
            Tier::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => {
                Tier::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Bf16 => Tier::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            Tier::Amx => Tier::Avx512Bf16.is_available() && amx::is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Tier::Avx2 | Tier::Avx512 | Tier::Avx512Bf16 | Tier::Amx => false,
        }
    }

    /// Whether the tier has instructions that multiply bf16, so that bf16 is faster than `f32`.
    pub fn multiplies_bf16(self) -> bool {
        self >= Tier::Avx512Bf16
    }

    /// The tiers that this processor has, slowest first.
    pub fn available() -> Vec<Tier> {
        Tier::ALL.into_iter().filter(|tier| tier.is_available()).collect()
    }

    /// The tier to run: the fastest that this processor has and `VGG_MAX_ISA` allows.
    ///
    /// # Errors
    /// When one of the two variables names no tier, or the tier in `VGG_REQUIRE_ISA` cannot run.
    pub fn choose() -> Result<Tier, TierError> {
        choose_from(variable("VGG_MAX_ISA")?, variable("VGG_REQUIRE_ISA")?, Tier::is_available)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Tier {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Tier::ALL.into_iter().find(|tier| tier.name().eq_ignore_ascii_case(name)).ok_or(())
    }
}

/// Why no tier could be chosen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TierError {
    /// A variable that names no tier.
    #[error("{variable}={value} names no instruction set; use one of {names}, or unset it", names = names())]
    Unknown {
        /// The environment variable.
        variable: &'static str,
        /// What it is set to.
        value: String,
    },
    /// `VGG_REQUIRE_ISA` asks for what cannot run.
    #[error("VGG_REQUIRE_ISA={required}, but {reason}")]
    Required {
        /// The tier asked for.
        required: Tier,
        /// What is in the way, and what to do.
        reason: String,
    },
}

/// The names of all tiers, for messages.
fn names() -> String {
    Tier::ALL.map(Tier::name).join(", ")
}

fn variable(name: &'static str) -> Result<Option<Tier>, TierError> {
    match std::env::var(name) {
        Err(std::env::VarError::NotPresent) => Ok(None),
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => value.parse().map(Some).map_err(|()| TierError::Unknown { variable: name, value }),
        Err(std::env::VarError::NotUnicode(value)) => {
            Err(TierError::Unknown { variable: name, value: value.to_string_lossy().into_owned() })
        }
    }
}

fn choose_from(
    cap: Option<Tier>,
    required: Option<Tier>,
    is_available: impl Fn(Tier) -> bool,
) -> Result<Tier, TierError> {
    if let Some(required) = required {
        if !is_available(required) {
            let reason = "this processor does not have it; unset the variable, or name another".into();
            return Err(TierError::Required { required, reason });
        }
        if let Some(cap) = cap.filter(|&cap| cap < required) {
            let reason = format!("VGG_MAX_ISA={cap} forbids it; unset one of the two");
            return Err(TierError::Required { required, reason });
        }
    }
    let allowed = |tier| cap.is_none_or(|cap| tier <= cap);
    let best = Tier::ALL.into_iter().rev().find(|&tier| allowed(tier) && is_available(tier));
    Ok(best.unwrap_or(Tier::Portable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_lowers_the_tier_and_a_requirement_fails_when_it_cannot_run() {
        assert_eq!(choose_from(None, None, |_| true), Ok(Tier::Amx));
        assert_eq!(choose_from(Some(Tier::Avx2), None, |_| true), Ok(Tier::Avx2));
        assert_eq!(choose_from(None, None, |tier| tier == Tier::Portable), Ok(Tier::Portable));
        assert_eq!(choose_from(None, Some(Tier::Avx2), |_| true), Ok(Tier::Amx));
        assert!(choose_from(None, Some(Tier::Avx512), |tier| tier <= Tier::Avx2).is_err());
        assert!(choose_from(Some(Tier::Portable), Some(Tier::Avx2), |_| true).is_err());
    }

    #[test]
    fn names_parse_back() {
        for tier in Tier::ALL {
            assert_eq!(tier.name().parse(), Ok(tier));
        }
        assert_eq!("sse9".parse::<Tier>(), Err(()));
    }
}
