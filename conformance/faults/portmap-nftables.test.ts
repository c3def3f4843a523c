/** portmap under faults, with nftables. */
import { PORTMAP } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

describeFaults(PORTMAP.nftables);
