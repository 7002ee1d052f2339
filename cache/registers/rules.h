/*
 * rules.h - the merge rules that tests/sim can switch off, to see that its
 * checks notice.  In the product the test is a constant and costs nothing.
 */
#ifndef DF_CACHE_RULES_H
#define DF_CACHE_RULES_H

enum df_rule {
	DF_RULE_SETTLE = 1,
	DF_RULE_GONE = 2,
	DF_RULE_MERGE_APPEND = 4,
	DF_RULE_DET_DIR = 8,
	DF_RULE_CYCLE = 16,
	DF_RULE_RESTAMP = 32,
	DF_RULE_REVIVE_DIR = 64,
	DF_RULE_HARDGONE = 128,
	DF_RULE_REASSERT = 256,
	DF_RULE_MVR = 512,
	DF_RULE_LINKS = 1024,
};

#ifdef DF_SIM
extern unsigned df_rules_off;
#define df_rule_off(rule) ((df_rules_off & (rule)) != 0)
#else
#define df_rule_off(rule) 0
#endif

#endif
