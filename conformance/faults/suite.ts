/**
 * Faults at every system call of a plugin's verbs. After each: either the call has done all it should, or what a runtime
 * does next (DEL, GC, ADD again) leaves exactly what was there before.
 *
 * PODWIRE_FAULTS=all tries every point; otherwise each test tries a few, spread evenly over the call.
 */
import { afterAll, describe, expect, test } from "vitest";
import type { CallOptions } from "../../testbed/harness.ts";
import { Bench, NEXT, type Trial } from "./bench.ts";
import type { Subject, Verb } from "./laboratory.ts";
import { callTraced, type Effect, errorsOf, injection, isOuter, type Point, pointsOf } from "./strace.ts";
import type { FaultCount, FaultKind } from "./table.ts";

const ALL = process.env.PODWIRE_FAULTS === "all";
/** How many points a test tries if not all. */
const SAMPLE = Number(process.env.PODWIRE_FAULTS_SAMPLE ?? 4);
const LIMIT_MS = 1_800_000;

/** What one test tries. */
export interface Plan {
  readonly kind: FaultKind;
  /** "killed at every system call" */
  readonly title: string;
  /** Learns the verb's course by calls without fault, and says what is to be tried. */
  readonly trials: (bench: Bench, verb: Verb) => Promise<Trial[]>;
}

export function describeFaults(subject: Subject, plans: readonly Plan[] = SYSTEM_CALLS): void {
  describe(subject.name, () => {
    const bench = new Bench(subject);
    afterAll(() => bench.end());
    for (const verb of subject.verbs) {
      for (const { kind, title, trials } of plans) {
        test(
          `each step of ${verb}: ${title}`,
          async ({ task }) => {
            await bench.begin(verb);
            const { points, leaks } = await run(bench, await trials(bench, verb));
            const count: FaultCount = { subject: subject.name, verb, kind, points, leaks };
            task.meta.faults = count;
            expect(bench.failures.join("\n"), `${points} faults`).toBe("");
          },
          LIMIT_MS,
        );
      }
    }
  });
}

/** Tries all faults, or a sample. @returns how many were met, and how many left something */
async function run(bench: Bench, trials: readonly Trial[]): Promise<{ points: number; leaks: number }> {
  const chosen = ALL ? trials : sample(trials, SAMPLE);
  let points = 0;
  for (const trial of chosen) if (await bench.attempt(trial)) points += 1;
  expect(points).toBeGreaterThan(chosen.length / 2);
  return { points, leaks: bench.failures.length };
}

function sample<T>(items: readonly T[], count: number): T[] {
  /* A step that has no divisor with the cycles of what follows a fault: all of them are in the sample. */
  const step = Math.max(1, Math.floor(items.length / count));
  return items.filter((_, i) => i % (step % 3 === 0 ? step + 1 : step) === 0);
}

const SYSTEM_CALLS: readonly Plan[] = [
  {
    kind: "killed",
    title: "killed at every system call",
    trials: async (bench, verb) => {
      const points = await pointsIn(bench, verb);
      return points.flatMap((point, i) => {
        /* Each state that a kill can leave has all that may come next after it; CHECK's states are nobody's. */
        const nexts = isOuter(point) && verb !== "CHECK" ? NEXT : [NEXT[i % NEXT.length] ?? "DEL"];
        return nexts.map((next) => trialOf(bench, point, "signal=KILL", next, i));
      });
    },
  },
  {
    kind: "errors",
    title: "an error from every system call",
    trials: async (bench, verb) => {
      const points = await pointsIn(bench, verb);
      /* By turns: each of a call's errors has another one after it, and one error at the next call too. */
      const all = points.flatMap((point, i) => errorsOf(point).map((error, j) => ({ point, error, turn: i + j })));
      return all.map(({ point, error, turn }) =>
        trialOf(bench, point, `error=${error}`, NEXT[turn % NEXT.length] ?? "DEL", turn),
      );
    },
  },
];

/** The system calls of a verb, in their order. */
async function pointsIn(bench: Bench, verb: Verb): Promise<Point[]> {
  const { lines, exitCode, stdout } = await bench.rehearse(verb, (options) => traced(bench, options, []));
  expect(exitCode, stdout).toBe(0);
  return pointsOf(lines);
}

function traced(bench: Bench, options: CallOptions, inject: readonly string[]) {
  return callTraced(bench.laboratory.directory, options, inject);
}

/** A program without memory has none to say so: it ends at once, as if it were killed. */
const MEMORY: readonly string[] = ["mmap", "brk", "mremap"];

function trialOf(bench: Bench, point: Point, effect: Effect, next: Trial["next"], index: number): Trial {
  return {
    title: `${point.name} ${point.n} ${effect}: ${point.line.slice(0, 100)}`,
    call: (options) => traced(bench, options, injection(point, effect)),
    mayDie: effect.startsWith("signal") || MEMORY.includes(point.name),
    /* What cannot be printed is not. */
    mayBeSilent: /^write\(1,/.test(point.line),
    next,
    index,
  };
}
