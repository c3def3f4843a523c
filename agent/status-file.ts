/**
 * What the agent knows, in a file on tmpfs: `podwire-agent status` prints it, `podwire-agent check` judges it. The agent holds the
 * file's lock for as long as it lives, so nobody is fooled by what a dead one has left.
 */
import {
  formatJson,
  type Json,
  jsonBoolean,
  jsonNumber,
  jsonObject,
  jsonString,
  jsonStrings,
} from "../lib/cni/json.ts";
import { CniError, TRY_AGAIN_LATER } from "../lib/errors.ts";
import { writeTextAt } from "../lib/host/directory.ts";
import { quietly } from "../lib/host/io.ts";
import { openOwnFile } from "../lib/host/state-directory.ts";
import { EAGAIN } from "../lib/sys/errno.ts";
import * as sys from "../lib/sys/sys.ts";
import { metricsText } from "./metrics.ts";
import { type RunDirectory, STATUS, writePublic } from "./node-files.ts";
import type { Roster } from "./roster.ts";
import type { Outcome } from "./sync.ts";

const TEMPORARY = "status.new";
const LOCK = "lock";

export function statusPath(run: RunDirectory): string {
  return `${run.path}/${STATUS}`;
}

export class StatusFile {
  readonly #run: RunDirectory;
  readonly #started = new Date().toISOString();
  readonly #node: string;
  readonly #release: string;
  readonly #metrics: string;
  #changed = "";
  #runs = 0;
  #failures = 0;
  #repairs = 0;

  /** @param metrics the path of the file for Prometheus; "" for none */
  constructor(run: RunDirectory, node: string, release: string, metrics: string) {
    this.#metrics = metrics;
    this.#run = run;
    this.#node = node;
    this.#release = release;
  }

  /** @param outcome of the last run; null before the first */
  write(roster: Roster, outcome: Outcome | null): void {
    const now = new Date().toISOString();
    if (outcome?.changed === true) this.#changed = now;
    if (outcome !== null) this.#count(outcome);
    if (this.#metrics !== "") this.#writeMetrics(roster, outcome);
    const status: Json = jsonObject()
      .with("version", jsonString(this.#release))
      .with("node", jsonString(this.#node))
      .with("started", jsonString(this.#started))
      .with("written", jsonString(now))
      .with("writtenMs", jsonNumber(Date.now()))
      .with("synced", jsonBoolean(roster.isComplete))
      .with("nodes", jsonNumber(roster.size))
      .with("peersFile", jsonString(this.#run.peersFile))
      .with("lastChange", jsonString(this.#changed))
      .with("problem", jsonString(outcome === null ? "the agent has just started" : outcome.problem))
      .with("notes", jsonStrings(outcome === null ? [] : outcome.notes));
    quietly(`write ${statusPath(this.#run)}`, () => this.#put(`${formatJson(status)}\n`));
  }

  #put(text: string): void {
    const directory = this.#run.open();
    try {
      writeTextAt(directory, TEMPORARY, STATUS, text, statusPath(this.#run), true);
    } finally {
      sys.close(directory);
    }
  }

  #count(outcome: Outcome): void {
    this.#runs += 1;
    if (outcome.problem !== "") this.#failures += 1;
    if (outcome.changed && !outcome.followed) this.#repairs += 1;
  }

  /** Another program's directory: a failure is said, and hurts nobody. */
  #writeMetrics(roster: Roster, outcome: Outcome | null): void {
    const text = metricsText({
      nodes: roster.size,
      isSynced: roster.isComplete,
      isWorking: outcome !== null && outcome.problem === "",
      runs: this.#runs,
      failures: this.#failures,
      repairs: this.#repairs,
      lastRun: Math.floor(Date.now() / 1000),
    });
    quietly(`write ${this.#metrics}`, () => writePublic(this.#metrics, text));
  }
}

/** A probe that looks whether an agent runs has the lock for a moment: so many tries, with so many microseconds between them. */
const TRIES = 20;
const PAUSE_US = 50_000;

/** Takes the lock of the agent of this node, which its end releases. @throws CniError 11 if another agent runs; SystemError */
export function lockAgent(run: RunDirectory): void {
  const fd = openLock(run);
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const locked = sys.flock(fd, sys.LOCK_EX | sys.LOCK_NB);
    if (locked >= 0) return;
    if (locked !== -EAGAIN) sys.must(locked, `lock ${lockPath(run)}`);
    sys.sleepUs(PAUSE_US);
  }
  throw new CniError(
    TRY_AGAIN_LATER,
    "another podwire-agent runs on this node",
    `it holds the lock of ${lockPath(run)}`,
  );
}

/** Whether an agent runs on this node. */
export function isAgentRunning(run: RunDirectory): boolean {
  const fd = openLock(run);
  const locked = sys.flock(fd, sys.LOCK_EX | sys.LOCK_NB);
  sys.close(fd);
  if (locked < 0 && locked !== -EAGAIN) sys.must(locked, `lock ${lockPath(run)}`);
  return locked < 0;
}

function lockPath(run: RunDirectory): string {
  return `${run.path}/${LOCK}`;
}

function openLock(run: RunDirectory): number {
  const directory = run.open();
  const fd = openOwnFile(directory, LOCK, sys.O_RDWR, lockPath(run));
  sys.close(directory);
  return sys.must(fd, `open ${lockPath(run)}`);
}
