//! What the processor is and can do, and how to hide what an ordinary one cannot: ftpish and its peers choose their code by
//! that, and what wins with the one may lose without.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What makes a difference for digests and encryption.
const FEATURES: [&str; 6] = ["aes", "sha_ni", "avx2", "vaes", "vpclmulqdq", "avx512f"];

/// By this variable AWS-LC and OpenSSL are told what the processor can do (OPENSSL_ia32cap(3)).
const VARIABLE: &str = "OPENSSL_ia32cap";

/// Leaf 7 of cpuid without VAES and VPCLMULQDQ (ECX 9 and 10, in the upper half), and without AVX-512 F, DQ, IFMA, CD, BW and
/// VL (EBX 16, 17, 21, 28, 30 and 31).
const MASK: &str = ":~0x600d0230000";

/// Runs this program again, on what all its children take for an ordinary processor. Returns only where that fails.
pub fn pretend_ordinary() -> std::io::Error {
    let this = std::env::current_exe().unwrap_or_else(|_| "ftpish-bench".into());
    Command::new(this).args(std::env::args_os().skip(1)).env(VARIABLE, MASK).exec()
}

/// Whether this program was run so.
pub fn is_ordinary() -> bool {
    std::env::var(VARIABLE).is_ok_and(|mask| mask == MASK)
}

/// The processor and those of its features that matter, in a line.
pub fn describe() -> String {
    describe_from(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default(), is_ordinary())
}

fn describe_from(cpuinfo: &str, is_ordinary: bool) -> String {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let name = field("model name").unwrap_or_else(|| "an unknown processor".to_owned());
    let flags = field("flags").unwrap_or_default();
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let has: Vec<&str> = FEATURES.into_iter().filter(|feature| flags.contains(feature)).collect();
    let hidden = if is_ordinary { "; VAES and AVX-512 hidden from AWS-LC and OpenSSL" } else { "" };
    format!("{name} ({}{hidden})", has.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_told_by_its_name_and_what_matters() {
        let cpuinfo = "model name\t: AMD EPYC\nflags\t\t: fpu aes avx2 vaes avx\n";
        assert_eq!(describe_from(cpuinfo, false), "AMD EPYC (aes, avx2, vaes)");
        let hidden = "AMD EPYC (aes, avx2, vaes; VAES and AVX-512 hidden from AWS-LC and OpenSSL)";
        assert_eq!(describe_from(cpuinfo, true), hidden);
        assert_eq!(describe_from("", false), "an unknown processor ()");
    }
}
