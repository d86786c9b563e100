//! `--shard`: which part of an evaluation this process does.

use care_map::Shard;
use std::str::FromStr;

/// `2/4`, `auto` or `auto/4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardArg {
    /// As said.
    Given(Shard),
    /// As the scheduler says in the environment; of so many, where it does not say that.
    Auto(Option<usize>),
}

impl FromStr for ShardArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let says = || "expected I/N from 1/N to N/N, such as 2/4; or auto, or auto/N".to_owned();
        let number =
            |t: &str| t.parse::<usize>().ok().filter(|n| (1..=1_000_000).contains(n)).ok_or_else(says);
        match text.split_once('/') {
            None if text == "auto" => Ok(Self::Auto(None)),
            None => Err(says()),
            Some(("auto", n)) => Ok(Self::Auto(Some(number(n)?))),
            Some((i, n)) => {
                let (i, count) = (number(i)?, number(n)?);
                if i > count { Err(says()) } else { Ok(Self::Given(Shard { index: i - 1, count })) }
            }
        }
    }
}

impl ShardArg {
    /// The part, looked up with `variable` where the environment has to say it.
    ///
    /// # Errors
    /// What is missing in the environment, or contradicts itself.
    pub fn resolve(self, variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
        let count = match self {
            Self::Given(shard) => return Ok(shard),
            Self::Auto(count) => count,
        };
        let number = |name: &str| variable(name).and_then(|text| text.trim().parse::<usize>().ok());
        let found = [
            ("Open MPI", number("OMPI_COMM_WORLD_RANK").map(|i| (i, number("OMPI_COMM_WORLD_SIZE")))),
            ("Slurm", number("SLURM_ARRAY_TASK_ID").map(|id| of_slurm(id, &number)).transpose()?),
            ("Kubernetes", number("JOB_COMPLETION_INDEX").map(|i| (i, None))),
        ];
        let found: Vec<_> = found.into_iter().filter_map(|(who, found)| Some((who, found?))).collect();
        let [(who, (index, of))] = found.as_slice() else {
            let who: Vec<&str> = found.iter().map(|f| f.0).collect();
            return Err(match who.is_empty() {
                true => "auto: neither a Slurm array (SLURM_ARRAY_TASK_ID), nor an indexed Kubernetes job \
                         (JOB_COMPLETION_INDEX), nor Open MPI (OMPI_COMM_WORLD_RANK) is running this; say --shard I/N"
                    .to_owned(),
                false => format!("auto: {} all say which part this is; say --shard I/N", who.join(" and ")),
            });
        };
        let count = match (count, *of) {
            (Some(said), Some(of)) if said != of => {
                return Err(format!("auto/{said}: {who} runs {of} parts"));
            }
            (said, of) => said.or(of).ok_or_else(|| {
                format!("auto: {who} does not say how many parts there are; say --shard auto/N")
            })?,
        };
        match *index < count {
            true => Ok(Shard { index: *index, count }),
            false => Err(format!("auto: {who} says that this is part {} of {count}", index + 1)),
        }
    }
}

/// The position of a task in its array, and the number of tasks.
fn of_slurm(id: usize, number: &impl Fn(&str) -> Option<usize>) -> Result<(usize, Option<usize>), String> {
    let of = |name: &str| number(&format!("SLURM_ARRAY_TASK_{name}"));
    let (first, step) = (of("MIN").unwrap_or(0), of("STEP").unwrap_or(1).max(1));
    let even = match (of("MAX"), of("COUNT")) {
        (Some(last), Some(count)) => last.checked_sub(first).is_some_and(|span| span / step + 1 == count),
        _ => true,
    };
    let index = id.checked_sub(first).filter(|offset| even && offset % step == 0).map(|offset| offset / step);
    let index = index.ok_or("auto: the ids of the Slurm array are not evenly spaced; say --shard I/N")?;
    Ok((index, of("COUNT")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, environment: &[(&str, &str)]) -> Result<(usize, usize), String> {
        let variable =
            |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        text.parse::<ShardArg>()?.resolve(variable).map(|s| (s.index, s.count))
    }

    #[test]
    fn parts_are_counted_from_one_to_n() {
        assert_eq!(resolve("1/4", &[]), Ok((0, 4)));
        assert_eq!(resolve("4/4", &[("JOB_COMPLETION_INDEX", "0")]), Ok((3, 4)));
        for wrong in ["0/4", "5/4", "1/0", "4", "", "/", "1/", "a/4", "auto/0", "auto/", "-1/4", "1/9999999"]
        {
            assert!(resolve(wrong, &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn schedulers_say_which_part_this_is() {
        let slurm = |id, first, last, step, count| {
            let names = ["ID", "MIN", "MAX", "STEP", "COUNT"].map(|n| format!("SLURM_ARRAY_TASK_{n}"));
            let all: Vec<(&str, &str)> =
                names.iter().map(String::as_str).zip([id, first, last, step, count]).collect();
            resolve("auto", &all)
        };
        assert_eq!(slurm("0", "0", "3", "1", "4"), Ok((0, 4)));
        assert_eq!(slurm("4", "1", "4", "1", "4"), Ok((3, 4)));
        assert_eq!(slurm("5", "1", "7", "2", "4"), Ok((2, 4)));
        assert!(slurm("4", "1", "4", "1", "3").unwrap_err().contains("evenly"), "1,2,4");
        let mpi = [("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "8")];
        assert_eq!(resolve("auto", &mpi), Ok((2, 8)));
        assert_eq!(resolve("auto/8", &mpi), Ok((2, 8)));
        assert!(resolve("auto/4", &mpi).is_err());
        let kubernetes = [("JOB_COMPLETION_INDEX", "2")];
        assert_eq!(resolve("auto/4", &kubernetes), Ok((2, 4)));
        assert!(resolve("auto", &kubernetes).unwrap_err().contains("auto/N"));
        assert!(resolve("auto/2", &kubernetes).is_err());
        assert!(resolve("auto", &[]).unwrap_err().contains("neither"));
        let two = [mpi[0], mpi[1], kubernetes[0]];
        assert!(resolve("auto", &two).unwrap_err().contains("Open MPI and Kubernetes"));
    }
}
