/** bridge under faults for the first pod of a node: bridge, settings, table and chains are made. */
import { COLD_BRIDGE } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

for (const subject of Object.values(COLD_BRIDGE)) describeFaults(subject);
