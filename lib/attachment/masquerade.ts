/** `ipMasq` and its options: what an attachment needs in the packet filter to reach other networks by the node's address. */
import type { Fields } from "../cni/fields.ts";
import { type BackendName, chooseBackend } from "../filter/choose-backend.ts";
import type { IptablesPlan } from "../filter/iptables-plan.ts";
import { masqueradePlan } from "../filter/iptables-rules.ts";
import { masqueradeChain, masqueradeElements } from "../filter/masquerade.ts";
import type { FilterChain, FilterElement, FilterOwner } from "../filter/record.ts";
import { type Family, type Prefix, parsePrefix } from "../ip/address.ts";
import type { Kernel } from "../state/kernel.ts";
import { clip } from "../text.ts";

export interface MasqueradeOptions {
  readonly ipMasq: boolean;
  /** "" leaves the choice to what the kernel has. */
  readonly ipMasqBackend: BackendName | "";
  /** Destinations outside the pod's own network that see the pod's address all the same. */
  readonly nonMasqueradeCidrs: readonly Prefix[];
}

/** Parts of a FilterRecord, to which other features may add theirs. */
export interface FilterParts {
  readonly chains: FilterChain[];
  readonly elements: FilterElement[];
  readonly iptables: IptablesPlan[];
}

/** @throws CniError 7 */
export function readMasquerade(fields: Fields): MasqueradeOptions {
  return {
    ipMasq: fields.boolean("ipMasq", false),
    ipMasqBackend: readBackend(fields),
    nonMasqueradeCidrs: readCidrs(fields, "nonMasqueradeCIDRs"),
  };
}

/** The backend that masquerades. @throws CniError 100 if there is none */
export function masqueradeBackend(kernel: Kernel, options: MasqueradeOptions): BackendName {
  return options.ipMasq ? chooseBackend(kernel.filter, options.ipMasqBackend).backend : "nftables";
}

/** What an attachment with these addresses needs; nothing without `ipMasq`. */
export function masqueradeOf(
  options: MasqueradeOptions,
  backend: BackendName,
  owner: FilterOwner,
  addresses: readonly Prefix[],
): FilterParts {
  const chains: FilterChain[] = [];
  const elements: FilterElement[] = [];
  const iptables: IptablesPlan[] = [];
  if (options.ipMasq && backend === "iptables") {
    for (const family of [4, 6] as Family[]) {
      const own = addresses.filter((prefix) => prefix.address.family === family);
      if (own.length > 0) iptables.push(masqueradePlan(owner, own, options.nonMasqueradeCidrs, family));
    }
  } else if (options.ipMasq && addresses.length > 0) {
    const chain = masqueradeChain(owner.network, addresses, options.nonMasqueradeCidrs);
    chains.push(chain);
    elements.push(...masqueradeElements(chain, addresses));
  }
  return { chains, elements, iptables };
}

function readBackend(fields: Fields): BackendName | "" {
  const backend = fields.string("ipMasqBackend", "");
  if (backend === "" || backend === "nftables" || backend === "iptables") return backend;
  throw fields.invalid("ipMasqBackend", `unknown ipmasq backend "${clip(backend)}": it is "nftables" or "iptables"`);
}

function readCidrs(fields: Fields, key: string): Prefix[] {
  const prefixes: Prefix[] = [];
  for (const text of fields.strings(key)) {
    const prefix = parsePrefix(text);
    const place = `${key}[${prefixes.length}]`;
    if (prefix === null) throw fields.invalid(place, `"${clip(text)}" is no prefix such as 10.244.0.0/16`);
    prefixes.push(prefix);
  }
  return prefixes;
}
