/**
 * Numbers of the nf_tables netlink protocol (linux/netfilter/nf_tables.h, nfnetlink.h).
 *
 * @module
 */

/** The nf_tables subsystem of nfnetlink; the upper byte of its message types. */
export const NFNL_SUBSYS_NFTABLES = 10;
/** Messages around a transaction. */
export const NFNL_MSG_BATCH = { BEGIN: 16, END: 17 } as const;
/** `nfgen_family` of a table for IPv4 and IPv6. */
export const NFPROTO_INET = 1;

/** Message types, with the subsystem in the upper byte. */
export const NFT_MSG = {
  NEWTABLE: 0xa00,
  GETTABLE: 0xa01,
  GETCHAIN: 0xa04,
  GETRULE: 0xa07,
  GETSET: 0xa0a,
  NEWSETELEM: 0xa0c,
  GETSETELEM: 0xa0d,
  DELSETELEM: 0xa0e,
  GETGEN: 0xa10,
  GETOBJ: 0xa13,
  GETFLOWTABLE: 0xa17,
  DESTROYSETELEM: 0xa1e,
} as const;

/** Attributes of a message about elements. */
export const NFTA_SET_ELEM_LIST = { TABLE: 1, SET: 2, ELEMENTS: 3 } as const;
/** Attributes of an element. */
export const NFTA_SET_ELEM = {
  KEY: 1,
  DATA: 2,
  FLAGS: 3,
  TIMEOUT: 4,
  EXPIRATION: 5,
  EXPR: 7,
  EXPRESSIONS: 11,
} as const;
/** One member of a list. */
export const NFTA_LIST_ELEM = 1;
/** A value, e.g. of a key. */
export const NFTA_DATA_VALUE = 1;
/** Attributes of an expression. */
export const NFTA_EXPR = { NAME: 1, DATA: 2 } as const;
/** Attributes of a counter expression. */
export const NFTA_COUNTER = { BYTES: 1, PACKETS: 2 } as const;
/** Attributes of a table. */
export const NFTA_TABLE = { NAME: 1, FLAGS: 2 } as const;
/** Attributes of a set. */
export const NFTA_SET = {
  TABLE: 1,
  NAME: 2,
  FLAGS: 3,
  KEY_TYPE: 4,
  KEY_LEN: 5,
  DESC: 9,
  GC_INTERVAL: 12,
  EXPR: 17,
  EXPRESSIONS: 18,
  COUNT: 20,
} as const;
/** How many elements a set takes. */
export const NFTA_SET_DESC_SIZE = 1;
/** Attributes of a chain. */
export const NFTA_CHAIN = { TABLE: 1, NAME: 3, HOOK: 4, POLICY: 5, TYPE: 7 } as const;
/** Attributes of a base chain's hook. */
export const NFTA_CHAIN_HOOK = { HOOKNUM: 1, PRIORITY: 2 } as const;
/** Attributes of a named object. */
export const NFTA_OBJ = { TABLE: 1, NAME: 2, TYPE: 3, DATA: 4 } as const;
/** Attributes of a flowtable. */
export const NFTA_FLOWTABLE = { TABLE: 1, NAME: 2 } as const;
/** Set flags. */
export const NFT_SET = {
  ANONYMOUS: 0x1,
  CONSTANT: 0x2,
  INTERVAL: 0x4,
  MAP: 0x8,
  TIMEOUT: 0x10,
  EVAL: 0x20,
  OBJECT: 0x40,
} as const;
