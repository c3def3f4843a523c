/** Other people's chains, as far as it takes to tell what becomes of a packet in them. */
import { AttributeReader, readBe32, readU8 } from "../codec.ts";
import { type NetlinkSocket, writeNetfilterHeader } from "../socket.ts";
import { NFT_MSG_GETCHAIN, NFTA_CHAIN_POLICY } from "./attributes.ts";
import { decodeChain } from "./decode.ts";
import type { Chain } from "./objects.ts";

/** A chain with what becomes of packets that none of its rules decides about: NF_ACCEPT or NF_DROP. */
export interface PolicyChain {
  readonly chain: Chain;
  readonly policy: number;
}

const NF_ACCEPT = 1;
const NFGENMSG_LENGTH = 4;

/** The chains of a family that are attached to hooks (`nft list chains ip`), in the order in which packets come to them. */
export function listHooked(socket: NetlinkSocket, family: number): PolicyChain[] {
  let found: PolicyChain[] = [];
  socket.dump(
    NFT_MSG_GETCHAIN,
    (writer) => {
      writeNetfilterHeader(writer, family, 0);
      writer.end();
    },
    (message) => {
      const chain = decodeChain(message.body);
      if (readU8(message.body, 0) === family && chain.hook !== null) {
        found.push({ chain, policy: policyOf(message.body) });
      }
    },
    () => {
      found = [];
    },
  );
  return found.sort((a, b) => (a.chain.hook?.priority ?? 0) - (b.chain.hook?.priority ?? 0));
}

function policyOf(body: Uint8Array): number {
  const attributes = new AttributeReader(body, NFGENMSG_LENGTH);
  while (attributes.next()) {
    if (attributes.type === NFTA_CHAIN_POLICY) return readBe32(attributes.bytes(), 0);
  }
  return NF_ACCEPT;
}
