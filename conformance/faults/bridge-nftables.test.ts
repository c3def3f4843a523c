/** bridge under faults, with nftables. */
import { BRIDGE } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

describeFaults(BRIDGE.nftables);
