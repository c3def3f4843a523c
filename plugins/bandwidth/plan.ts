/**
 * What the bandwidth plugin wants the node to hold for one attachment: a pure function of the configuration and of the
 * link that the container's packets pass. ADD makes it so, CHECK compares it.
 */
import type { FairQueue, TokenBucket } from "../../lib/netlink/qdisc.ts";
import type { TcHook } from "../../lib/netlink/tc-filter.ts";
import type { Where } from "../../lib/state/kernel.ts";
import type { RedirectMatch } from "../../lib/state/kinds/redirect.ts";
import { type AttachmentNames, ifbName } from "../../lib/state/names.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import type { BandwidthConfig, RateLimit } from "./config.ts";

/** What a plan is made from. */
export interface PlanInput {
  readonly config: BandwidthConfig;
  readonly names: AttachmentNames;
  /** The other end of the container's interface in the host's namespace; "" if there is none. */
  readonly hostLink: string;
  /** The interface in the container's namespace. */
  readonly containerLink: string;
  readonly mtu: number;
}

const ETHERNET_HEADER = 14;
/** The longer one of the two, so that neither IP version gets less than the limit. */
const IPV6_HEADER = 40;
/** The smallest MTU for which headers are reckoned with: every host takes packets of this size (RFC 791). */
const MIN_MTU = 576;
/**
 * A burst that is left to us: this time at the full rate, or so many packets if that is more. At 1 Mbit/s they take 240 ms:
 * longer than TCP's shortest pause for a lost packet (200 ms), so that what it does not send then is not lost to it.
 */
const BURST_MS = 50;
const BURST_PACKETS = 20;
/** A queue holds so many packets however short the time, with fewer TCP keeps stopping, and some small ones besides. */
const QUEUE_PACKETS = 4;
const SMALL_PACKETS = 256;
/** The longest packet that a sender leaves to the link to cut, and how many of them a queue is to hold if it holds any. */
const LONG_PACKET = 65_550;
const LONG_PACKETS = 8;

/** The objects of an attachment, in the order in which they come into being. */
export function planBandwidth(input: PlanInput): KernelObject[] {
  const { config } = input;
  const plan: KernelObject[] = [];
  if (config.ingress !== null) planDirection(plan, input, "ingress", config.ingress);
  if (config.egress !== null) planDirection(plan, input, "egress", config.egress);
  return plan;
}

/** The names of the ifb links that a plan has, with the namespace they are in. */
export function ifbsOf(plan: readonly KernelObject[]): { where: Where; name: string }[] {
  const found: { where: Where; name: string }[] = [];
  for (const object of plan) {
    if (object.kind === "ifb") found.push({ where: object.where, name: object.name });
  }
  return found;
}

/**
 * A link's root limits what goes out by it. So what the container receives is limited on the host's end, and what it sends
 * on its own. Where that will not do (because nothing inside the container is to be relied on, because there is no host's
 * end, or because some subnets are exempt) packets are sent through an ifb, whose root limits them.
 */
function planDirection(
  plan: KernelObject[],
  input: PlanInput,
  direction: "ingress" | "egress",
  limit: RateLimit,
): void {
  const { config, names, mtu } = input;
  const inside = input.hostLink === "" || (config.inContainer && direction === "egress");
  const where: Where = inside ? "container" : "host";
  const link = inside ? input.containerLink : input.hostLink;
  const bucket = bucketOf(limit, mtu, config.latencyMs);
  const queue = queueOf(bucket, mtu, config.latencyMs);
  const hook: TcHook = (direction === "egress") === inside ? "egress" : "ingress";
  if (hook === "egress" && config.choice === "all") {
    plan.push({ kind: "shaper", where, link, bucket, queue });
    return;
  }
  const ifb = ifbName(names, direction);
  plan.push({ kind: "ifb", where, name: ifb, mac: names.hostMac, mtu, alias: names.alias, bucket, queue });
  plan.push({ kind: "redirect", where, link, ifb, hook, matches: matchesOf(config, direction) });
}

/** Subnets are those of the other side: the source of what the container receives, the destination of what it sends. */
function matchesOf(config: BandwidthConfig, direction: "ingress" | "egress"): RedirectMatch[] {
  const end = direction === "ingress" ? "source" : "destination";
  const matches: RedirectMatch[] = [];
  for (const subnet of config.subnets) {
    matches.push({ rank: subnet.address.family === 4 ? 0 : 1, subnet, end, shaped: config.choice === "only" });
  }
  if (config.choice !== "only") {
    matches.push({ rank: 2, subnet: null, end, shaped: true });
  } else {
    /* The kernel sees no address behind a tag, but a receiver takes the tag off: tagged packets are of all subnets. */
    matches.push({ rank: 3, subnet: null, end, shaped: true });
    matches.push({ rank: 4, subnet: null, end, shaped: true });
  }
  return matches;
}

/**
 * The token bucket for a limit. The kernel counts Ethernet and IP headers, people do not: it gets the rate at which full
 * packets carry the limit besides them. An explicit burst is kept, but lets one packet through at least.
 */
export function bucketOf(limit: RateLimit, mtu: number, latencyMs: number): TokenBucket {
  const frame = mtu + ETHERNET_HEADER;
  const bytes = limit.rateBits / 8;
  const headers = mtu >= MIN_MTU ? frame / (mtu - IPV6_HEADER) : 1;
  const rateBytesPerSecond = Math.ceil(bytes * headers);
  const left = Math.max(Math.ceil((bytes * BURST_MS) / 1000), BURST_PACKETS * frame);
  const burst = limit.burstBits === null ? left : Math.max(Math.floor(limit.burstBits / 8), frame);
  const queueBytes = Math.max(
    Math.ceil((rateBytesPerSecond * latencyMs) / 1000),
    QUEUE_PACKETS * frame + SMALL_PACKETS,
  );
  return {
    rateBytesPerSecond,
    burstBytes: Math.min(burst, 0xffffffff),
    queueBytes: Math.min(queueBytes, 0xffffffff),
    packetBytes: queueBytes < LONG_PACKETS * LONG_PACKET ? frame : 0,
  };
}

/** The fair queue in place of the bucket's own, for kernels that have one. */
export function queueOf(bucket: TokenBucket, mtu: number, latencyMs: number): FairQueue {
  const packetUs = Math.ceil(((mtu + ETHERNET_HEADER) * 1e6) / bucket.rateBytesPerSecond);
  const targetUs = Math.min(Math.max(Math.floor((latencyMs * 1000) / 5), packetUs), 10_000_000);
  return {
    packets: Math.max(32, Math.min(10_240, Math.ceil((bucket.queueBytes * 2) / mtu))),
    targetUs,
    intervalUs: Math.min(Math.max(100_000, targetUs * 4), 100_000_000),
  };
}
