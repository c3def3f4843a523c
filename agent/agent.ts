/**
 * The node agent: one loop around a watch of the cluster's nodes, the kernel's notifications, timers and signals. Every event
 * leads to the same thing, a run of `Sync` a moment later, which finds out what there is to do.
 */
import type { Json } from "../lib/cni/json.ts";
import { Loop, Timed } from "../lib/loop/loop.ts";
import { SignalHandler, Signals } from "../lib/loop/signals.ts";
import type { Depth } from "../lib/overlay/reconcile.ts";
import { SIGINT } from "../lib/sys/loop.ts";
import { SIGTERM } from "../lib/sys/sys.ts";
import type { ApiAccess } from "./api-access.ts";
import type { Log } from "./log.ts";
import { Guardian, Monitor, Monitors } from "./monitor.ts";
import { allNodes, NodesObserver, RosterUser } from "./nodes-observer.ts";
import { OwnNode } from "./own-node-writer.ts";
import { Roster } from "./roster.ts";
import type { NetworkSettings } from "./settings.ts";
import type { StatusFile } from "./status-file.ts";
import type { Outcome, Sync } from "./sync.ts";

/** Events that come together lead to one run. */
const DEBOUNCE_MS = 100;
/** After a run, before one for what others have taken away: who deletes again and again does not keep the agent busy. */
const REPAIR_PAUSE_MS = 1000;
/** How often everything is compared with the kernel without a reason. */
const VERIFY_MS = 300_000;
/** A problem that lasts for so long becomes an event for administrators: before, a node that joins would have one each time. */
const LASTING_MS = 30_000;
/** After a run that has failed. */
const RETRY_MS = 5000;

/** Runs the synchronisation. */
class SyncTimer extends Timed {
  readonly #agent: Agent;

  constructor(agent: Agent) {
    super();
    this.#agent = agent;
  }

  override due(): void {
    this.#agent.sync();
  }
}

/** Has everything compared with the kernel. */
class VerifyTimer extends Timed {
  readonly #agent: Agent;

  constructor(agent: Agent) {
    super();
    this.#agent = agent;
  }

  override due(): void {
    this.#agent.verify();
  }
}

/** What the monitor tells goes to the agent. */
class AgentGuardian extends Guardian {
  readonly #agent: Agent;

  constructor(agent: Agent) {
    super();
    this.#agent = agent;
  }

  override missing(what: string): void {
    this.#agent.missing(what);
  }
}

class AgentSignals extends SignalHandler {
  readonly #agent: Agent;

  constructor(agent: Agent) {
    super();
    this.#agent = agent;
  }

  override received(signal: number): void {
    this.#agent.signalled(signal);
  }
}

export class Agent extends RosterUser {
  readonly #loop = new Loop();
  readonly #roster = new Roster();
  readonly #sync: Sync;
  readonly #log: Log;
  readonly #status: StatusFile;
  readonly #own: OwnNode;
  readonly #nodeName: string;
  readonly #timer: SyncTimer;
  readonly #verification: VerifyTimer;
  /** Whether the next run compares everything with the kernel. */
  #isFull = true;
  /** When the next run is due; -1 if none is. */
  #dueAt = -1;
  #lastRunAt = Number.NEGATIVE_INFINITY;
  /** Since when runs fail; -1 if the last one has not. */
  #failingSince = -1;
  /** What was heard to be missing since the last run. */
  #missing: string[] = [];
  #monitors = new Monitors([]);
  /** Why there is no list of nodes, as far as it is known. */
  #apiTrouble = "";

  constructor(
    settings: NetworkSettings,
    nodeName: string,
    access: ApiAccess,
    sync: Sync,
    status: StatusFile,
    log: Log,
  ) {
    super();
    this.#sync = sync;
    this.#log = log;
    this.#status = status;
    this.#nodeName = nodeName;
    this.#timer = new SyncTimer(this);
    this.#verification = new VerifyTimer(this);
    this.#own = new OwnNode(settings, nodeName, access.requests(this.#loop, nodeName), log);
    access.watch(this.#loop, allNodes(), new NodesObserver(this.#roster, this, nodeName, log), nodeName);
  }

  /** Runs until a signal asks it to end. The network stays as it is. */
  run(): void {
    new Signals(this.#loop, [SIGTERM, SIGINT], new AgentSignals(this));
    this.#monitors = Monitor.start(this.#loop, new AgentGuardian(this));
    this.#status.write(this.#roster, null);
    /* So that it is said what the agent waits for. */
    this.#schedule(RETRY_MS);
    this.#loop.run();
    this.#log.info("the agent ends; the network stays as it is");
  }

  override rosterChanged(): void {
    this.#schedule(DEBOUNCE_MS);
  }

  override ownNode(object: Json): void {
    this.#own.seen(object);
  }

  override apiTrouble(text: string): void {
    this.#apiTrouble = text;
  }

  missing(what: string): void {
    if (!this.#missing.includes(what) && this.#missing.length < 8) this.#missing.push(what);
    this.#isFull = true;
    this.#schedule(Math.max(DEBOUNCE_MS, this.#lastRunAt + REPAIR_PAUSE_MS - this.#loop.now()));
  }

  signalled(_signal: number): void {
    this.#loop.stop();
  }

  verify(): void {
    this.#isFull = true;
    this.#schedule(0);
  }

  /** Brings the node to what it should be. */
  sync(): void {
    this.#dueAt = -1;
    const depth: Depth = this.#isFull ? "full" : "close";
    this.#isFull = false;
    const outcome = this.#sync.run(this.#roster, depth, this.#apiTrouble);
    this.#lastRunAt = this.#loop.now();
    this.#report(outcome);
    /* What the run has changed itself is heard now; that it is looked at once more, a moment later, is no harm. */
    this.#monitors.hear();
    this.#missing = [];
    if (outcome.problem === "") {
      if (depth === "full") this.#loop.after(VERIFY_MS, this.#verification);
      const own = this.#roster.find(this.#nodeName);
      if (own !== null) this.#own.works(own, outcome.family);
    } else {
      this.#isFull = this.#isFull || depth === "full";
      this.#schedule(RETRY_MS);
    }
    this.#status.write(this.#roster, outcome);
  }

  #report(outcome: Outcome): void {
    if (outcome.changed && !outcome.followed) {
      const causes = this.#missing.length === 0 ? "" : `: ${this.#missing.join("; ")}`;
      this.#log.warning(`put back what was missing${causes}`);
    }
    this.#tell(outcome.problem);
    this.#log.state("the network", outcome.problem, "the network of this node is as it should be");
    this.#log.state("notes", outcome.notes.join("; "), "nothing else to say of the network");
  }

  #tell(problem: string): void {
    const now = this.#loop.now();
    if (problem === "") this.#failingSince = -1;
    else if (this.#failingSince < 0) this.#failingSince = now;
    if (problem === "" || now - this.#failingSince >= LASTING_MS) this.#own.tell(problem);
  }

  /** Has the next run take place in so many milliseconds, unless one comes sooner. */
  #schedule(milliseconds: number): void {
    const at = this.#loop.now() + milliseconds;
    if (this.#dueAt >= 0 && this.#dueAt <= at) return;
    this.#dueAt = at;
    this.#loop.after(milliseconds, this.#timer);
  }
}
