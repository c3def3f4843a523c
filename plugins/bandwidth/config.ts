/** The bandwidth plugin's part of a network configuration: every option, checked, defaults filled in. */
import { type Fields, integerOf } from "../../lib/cni/fields.ts";
import type { Call } from "../../lib/cni/plugin.ts";
import { networkOf, type Prefix, parsePrefix } from "../../lib/ip/address.ts";
import { clip, isDigits } from "../../lib/text.ts";

/** The limit of one direction. */
export interface RateLimit {
  /** Bits a second; from MIN_RATE to MAX_RATE. */
  readonly rateBits: number;
  /** Bits; null leaves it to us. */
  readonly burstBits: number | null;
}

/** Which packets are limited: all, or by the subnet that the other side of a connection is in. */
export type SubnetChoice = "all" | "only" | "except";

/** Everything the configuration says, ready for use. */
export interface BandwidthConfig {
  /** Of what the container receives; null for none. */
  readonly ingress: RateLimit | null;
  /** Of what the container sends. */
  readonly egress: RateLimit | null;
  /** How long packets may wait. */
  readonly latencyMs: number;
  readonly choice: SubnetChoice;
  /** What `choice` is about, without bits behind the prefix. */
  readonly subnets: readonly Prefix[];
  /** Whether the container's own side of the link is used, where it could be undone from inside. */
  readonly inContainer: boolean;
}

/** The bounds that Kubernetes sets for its annotations: 1k and 1P. */
const MIN_RATE_BITS = 1000;
const MAX_RATE_BITS = 1e15;
const DEFAULT_LATENCY_MS = 25;
const MAX_LATENCY_MS = 10_000;
/** As many filters as the kernel numbers in one list. */
const MAX_SUBNETS = 1000;

/**
 * What runtimes send where nobody has asked for a burst: containerd 2^32 - 1, CRI-O eight times that (or one less), the
 * kubelet of old 2^31 - 1.
 */
const DEFAULT_BURSTS: readonly number[] = [4294967295, 34359738360, 34359738359, 2147483647];

const STATIC_KEYS: readonly string[] = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"];

/**
 * Reads the configuration of a call. A limit in the configuration itself, even one of 0, takes the place of the runtime's.
 * @throws CniError 7 with the field's path
 */
export function readBandwidthConfig(call: Call): BandwidthConfig {
  const own = call.config.fields;
  const runtime = call.config.runtimeConfig().object("bandwidth");
  let isStatic = runtime === null;
  for (const key of STATIC_KEYS) if (own.has(key)) isStatic = true;
  const limits = runtime === null || isStatic ? own : runtime;
  const rest = (key: string): Fields => (runtime === null || own.has(key) ? own : runtime);
  const only = readSubnets(rest("shapedSubnets"), "shapedSubnets");
  const except = readSubnets(rest("unshapedSubnets"), "unshapedSubnets");
  if (only.length > 0 && except.length > 0) {
    throw own.invalid("unshapedSubnets", "unshapedSubnets and shapedSubnets cannot be set at the same time");
  }
  return {
    ingress: readLimit(limits, "ingress"),
    egress: readLimit(limits, "egress"),
    latencyMs: rest("latency").integer("latency", 1, MAX_LATENCY_MS) ?? DEFAULT_LATENCY_MS,
    choice: only.length > 0 ? "only" : except.length > 0 ? "except" : "all",
    subnets: only.length > 0 ? only : except,
    inContainer: readShapeIn(own),
  };
}

function readLimit(fields: Fields, direction: string): RateLimit | null {
  const rateBits = readBits(fields, `${direction}Rate`);
  const burstBits = readBits(fields, `${direction}Burst`);
  if (rateBits === 0) {
    if (burstBits === 0) return null;
    throw fields.invalid(`${direction}Burst`, "if burst is set, rate must also be set");
  }
  if (rateBits < MIN_RATE_BITS || rateBits > MAX_RATE_BITS) {
    throw fields.invalid(
      `${direction}Rate`,
      `${rateBits} is not between ${MIN_RATE_BITS} and ${MAX_RATE_BITS}: rates are in bits a second, 10 Mbit/s is 10000000`,
    );
  }
  return { rateBits, burstBits: burstBits === 0 || DEFAULT_BURSTS.includes(burstBits) ? null : burstBits };
}

/** A number of bits, 0 if absent. Above 2^53 - 1, which is more than the kernel can count, all are that. */
function readBits(fields: Fields, key: string): number {
  const value = fields.find(key);
  if (value === null) return 0;
  if (value.kind === "number" && isDigits(value.text) && value.text.length > 15) {
    return value.text.length > 16
      ? Number.MAX_SAFE_INTEGER
      : Math.min(parseInt(value.text, 10), Number.MAX_SAFE_INTEGER);
  }
  return integerOf(value, fields.pathOf(key), 0, Number.MAX_SAFE_INTEGER);
}

function readSubnets(fields: Fields, key: string): Prefix[] {
  const given = fields.strings(key);
  if (given.length > MAX_SUBNETS) throw fields.invalid(key, `has ${given.length} subnets of at most ${MAX_SUBNETS}`);
  const subnets: Prefix[] = [];
  for (const text of given) {
    const prefix = parsePrefix(text);
    if (prefix === null) {
      const place = `${key}[${subnets.length}]`;
      throw fields.invalid(place, `bad subnet "${clip(text)}" provided, expected one like 10.0.0.0/8`);
    }
    subnets.push({ address: networkOf(prefix), length: prefix.length });
  }
  return subnets;
}

function readShapeIn(fields: Fields): boolean {
  const given = fields.string("shapeIn", "");
  if (given === "container") return true;
  if (given === "" || given === "host") return false;
  throw fields.invalid("shapeIn", `unrecognized "${clip(given)}": expected "host" or "container"`);
}
