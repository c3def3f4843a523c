/**
 * A storm: many workers ADD pods by a chain of all plugins that keep state, while pods that others made are CHECKed,
 * DELed, or gone without a DEL, and one GC follows another. As a runtime may do it: what a GC is told to keep is every
 * attachment whose DEL has not begun, and those whose ADD is yet to come.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type JsonObject, Netns, until } from "../../testbed/harness.ts";
import { difference } from "../faults/snapshot.ts";
import { addressOf } from "../plugins/portmap-lab.ts";
import { Chain, type Failure, FIRST_PORT, type Member, type Outcome } from "./chain.ts";
import { nodeSnapshot } from "./snapshot.ts";

const FULL = process.env.PODWIRE_FAULTS === "all";
const [PODS, WORKERS] = FULL ? [500, 50] : [100, 20];
const LIMIT_MS = 900_000;
/** The code by which a plugin asks to be called again. */
const TRY_AGAIN_LATER = 11;
/** So many pods have a server, so that there are connections to forget. */
const SERVED = 4;

/** What becomes of a pod after its ADD, by its number: each fate has pods of each worker. */
type Fate = "stays" | "is deleted" | "is lost";
const FATES: readonly Fate[] = ["stays", "is deleted", "stays", "is deleted", "is lost"];

class Storm {
  readonly chain: Chain;
  /** The pods that a runtime would tell a GC to keep. */
  readonly valid = new Set<Member>();
  readonly settled: Member[] = [];
  readonly again: Failure[] = [];
  readonly failures: Failure[] = [];
  /** Who has an address, from the end of the ADD to the beginning of the DEL. */
  readonly #holders = new Map<string, Member>();
  readonly duplicates: string[] = [];
  collections = 0;

  constructor(chain: Chain) {
    this.chain = chain;
  }

  /** Repeats what is to be repeated, as a runtime does. @returns whether it succeeded in the end */
  async #insist(action: () => Promise<Outcome>, between: () => Promise<unknown>): Promise<boolean> {
    for (let attempt = 0; attempt < 20; attempt += 1) {
      const failure = await action();
      if (failure === null) return true;
      if (failure.code !== TRY_AGAIN_LATER) {
        this.failures.push(failure);
        return false;
      }
      this.again.push(failure);
      await between();
    }
    throw new Error("it is always later");
  }

  async add(member: Member): Promise<boolean> {
    const added = await this.#insist(
      () => this.chain.add(member),
      () => this.chain.del(member),
    );
    if (!added) return false;
    for (const address of addressesOf(member)) {
      const other = this.#holders.get(address);
      if (other !== undefined) this.duplicates.push(`${address}: ${other.containerId} and ${member.containerId}`);
      this.#holders.set(address, member);
    }
    this.settled.push(member);
    return true;
  }

  /** From now on it is nobody's. */
  #forget(member: Member): void {
    this.valid.delete(member);
    const at = this.settled.indexOf(member);
    if (at >= 0) this.settled.splice(at, 1);
    for (const address of addressesOf(member)) this.#holders.delete(address);
  }

  async del(member: Member): Promise<void> {
    this.#forget(member);
    await this.#insist(
      () => this.chain.del(member),
      async () => {},
    );
    await member.netns.remove();
  }

  /** Its namespace goes, and nobody says so. */
  async lose(member: Member): Promise<void> {
    this.#forget(member);
    await member.netns.remove();
  }

  async check(member: Member): Promise<void> {
    await this.#insist(
      () => this.chain.check(member),
      async () => {},
    );
  }

  async gc(): Promise<void> {
    this.collections += 1;
    await this.#insist(
      () => this.chain.gc([...this.valid]),
      async () => {},
    );
  }

  /** GCs one after another until something else is through. */
  async gcDuring(work: Promise<unknown>): Promise<void> {
    let over = false;
    const end = work.finally(() => {
      over = true;
    });
    while (!over) await this.gc();
    await end;
  }
}

function addressesOf(member: Member): string[] {
  return ((member.result?.ips ?? []) as JsonObject[]).map((ip) => String(ip.address).split("/")[0] ?? "");
}

/** So many workers take one after another from what is to be done. */
async function byWorkers<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
}

describe(`${PODS} pods by ${WORKERS} workers`, () => {
  let chain: Chain;
  const made: Member[] = [];

  beforeAll(async () => {
    chain = await Chain.create();
  });

  afterAll(async () => {
    for (const member of made) await member.netns.remove();
    await chain.node.remove();
  });

  const member = async (index: number): Promise<Member> => {
    const netns = await Netns.create("storm");
    const one = { index, containerId: netns.name, netns, result: null };
    made.push(one);
    return one;
  };

  test(
    "ADD, CHECK, DEL and GC at once: nothing fails, no address is given twice, nothing is left",
    async () => {
      const { node } = chain;
      const storm = new Storm(chain);
      const first = await member(PODS);
      storm.valid.add(first);
      expect(await storm.add(first), JSON.stringify(storm.failures)).toBe(true);
      await storm.del(first);
      const before = await nodeSnapshot(node, {});

      const members: Member[] = [];
      await byWorkers([...Array(PODS).keys()], async (index) => {
        members.push(await member(index));
      });
      members.sort((a, b) => a.index - b.index);
      for (const one of members) storm.valid.add(one);
      const begun = performance.now();
      const adding = byWorkers(members, async (one) => {
        if (!(await storm.add(one))) return;
        const fate = FATES[one.index % FATES.length] ?? "stays";
        if (fate === "is deleted") await storm.del(one);
        else if (fate === "is lost") await storm.lose(one);
        else await storm.check(one);
      });
      await storm.gcDuring(adding);
      const addedMs = performance.now() - begun;

      const staying = [...storm.settled];
      expect(storm.failures).toEqual([]);
      expect(storm.duplicates).toEqual([]);
      expect(staying.map(({ index }) => index).sort((a, b) => a - b)).toEqual(
        members.map(({ index }) => index).filter((index) => FATES[index % FATES.length] === "stays"),
      );
      /* What is gone without a DEL is gone with the GC; what stays is whole, and alone. */
      await storm.gc();
      await byWorkers(staying, (one) => storm.check(one));
      expect(storm.failures).toEqual([]);
      await expectOnly(chain, staying);
      const served = staying.slice(0, SERVED);
      await expectConnections(chain, served);

      await storm.gcDuring(
        byWorkers(staying, async (one) => {
          await node.traffic.close(one.netns);
          await storm.del(one);
        }),
      );
      expect(storm.failures).toEqual([]);
      let left: string[] = [];
      await until(async () => {
        left = difference(before, await nodeSnapshot(node, {}));
        return left.length === 0;
      }, 20_000);
      expect(left).toEqual([]);
      expect(connectionsOf(await node.flows(), served)).toEqual([]);
      console.info(
        `${PODS} pods by ${WORKERS} workers in ${(addedMs / 1000).toFixed(1)} s: ${chain.calls} calls, ` +
          `${storm.collections} GCs, longest call ${Math.round(chain.longestMs)} ms, ${storm.again.length} times code 11`,
      );
    },
    LIMIT_MS,
  );
});

/** The leases, published ports, limits and accepted addresses that are there are those of these pods, no more and no fewer. */
async function expectOnly(chain: Chain, members: readonly Member[]): Promise<void> {
  const lines = await nodeSnapshot(chain.node, {});
  const wanted = members.flatMap(addressesOf).sort();
  const leases = lines.flatMap((line) => /^data\/pwt-net\/((?:10\.|fd)[0-9a-f.:]+)$/.exec(line)?.[1] ?? []);
  expect(leases.sort()).toEqual(wanted);
  const ports = (await elementsOf(chain, "hostports4")).map((key) => Number(key.split(" . ")[1]));
  expect(ports.sort((a, b) => a - b)).toEqual(
    members.flatMap(({ index }) => [FIRST_PORT + 2 * index, FIRST_PORT + 2 * index + 1]).sort((a, b) => a - b),
  );
  expect(keysIn(lines, "accepted[46]")).toEqual(wanted);
  expect(keysIn(lines, "isolated_ports")).toHaveLength(members.length);
  const count = members.length;
  let links = "";
  /* The kernel takes namespaces apart in its own time. */
  await until(async () => {
    const kinds = (await chain.node.host.query("link", "show")).map((link) => {
      return `${(link.linkinfo as JsonObject | undefined)?.info_kind} of ${link.master ?? "none"}`;
    });
    const ports = kinds.filter((kind) => kind === "veth of cni0").length;
    links = `${ports} ports, ${kinds.filter((kind) => kind.startsWith("ifb")).length} ifbs`;
    return links === `${count} ports, ${count} ifbs`;
  }, 20_000);
  expect(links).toBe(`${count} ports, ${count} ifbs`);
}

/** The keys of firewall's elements in a snapshot. */
function keysIn(lines: readonly string[], set: string): string[] {
  const element = new RegExp(`^element of podwire-firewall ${set}: .*"val":"([^"]+)"`);
  return lines.flatMap((line) => element.exec(line)?.[1] ?? []).sort();
}

/** The keys of a map of ours: "tcp . 8080". */
async function elementsOf(chain: Chain, map: string): Promise<string[]> {
  const text = await chain.node.nft("list", "map", "inet", "podwire", map);
  return [...text.matchAll(/\b(?:tcp|udp) \. \d+/g)].map(([key]) => key);
}

/** Asks some pods by what they publish, so that the node knows connections to them. */
async function expectConnections(chain: Chain, served: readonly Member[]): Promise<void> {
  const { node } = chain;
  for (const one of served) {
    const label = `pod${one.index}`;
    await node.traffic.serveAll(one.netns, label, 80);
    for (const [protocol, port] of [
      ["tcp", FIRST_PORT + 2 * one.index],
      ["udp", FIRST_PORT + 2 * one.index + 1],
    ] as const) {
      const answer = await node.ask(node.client, addressOf("node", 4), port, protocol, { timeoutMs: 5000 });
      expect(answer).toMatch(new RegExp(`^${label} saw`));
    }
  }
  const flows = await node.flows();
  if (flows !== null) expect(connectionsOf(flows, served).length).toBeGreaterThanOrEqual(served.length);
}

/** The connections over UDP that lead to these pods. */
function connectionsOf(flows: readonly string[] | null, members: readonly Member[]): string[] {
  const ports = members.map(({ index }) => ` ${FIRST_PORT + 2 * index + 1}`);
  return (flows ?? []).filter((flow) => flow.startsWith("udp") && ports.some((port) => flow.endsWith(port)));
}
