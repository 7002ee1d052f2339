/* step.c - see step.h. */
#include "cache/step.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/checkpoint.h"
#include "cache/identity.h"
#include "cache/poll.h"
#include "cache/upload.h"
#include "cache/worker.h"

int df_step_cut(struct df_vol *v)
{
	df_lock(&v->lock);
	df_nid force = df_work_forced(v);
	df_unlock(&v->lock);
	return df_work_cut(v, force);
}

int df_step_send(struct df_vol *v)
{
	int rc = df_work_send(v);

	df_work_wake(v);
	return rc < 0 ? rc : 0;
}

int df_step_poll(struct df_vol *v, bool full)
{
	return df_poll(v, full, 0);
}

int df_step_fold(struct df_vol *v)
{
	return df_work_fold(v, true);
}

int df_step_checkpoint(struct df_vol *v)
{
	return df_checkpoint_write(v);
}

void df_step_kill(struct df_vol *v)
{
	df_vol_free(v); /* writes nothing */
}

void df_step_notice(struct df_vol *v)
{
	df_lock(&v->lock);
	v->must_rename = true;
	df_unlock(&v->lock);
}

#ifdef DF_SIM
unsigned df_rules_off;
#endif

int df_step_rule(const char *name, bool on)
{
	static const struct {
		const char *name;
		unsigned bit;
	} rules[] = {
		{ "settle", DF_RULE_SETTLE },
		{ "gone", DF_RULE_GONE },
		{ "merge_append", DF_RULE_MERGE_APPEND },
		{ "det_dir", DF_RULE_DET_DIR },
		{ "cycle", DF_RULE_CYCLE },
		{ "restamp", DF_RULE_RESTAMP },
		{ "revive_dir", DF_RULE_REVIVE_DIR },
		{ "hardgone", DF_RULE_HARDGONE },
		{ "reassert", DF_RULE_REASSERT },
		{ "mvr", DF_RULE_MVR },
		{ "links", DF_RULE_LINKS },
	};

	for (size_t i = 0; i < DF_ARRAY_LEN(rules); i++) {
		if (strcmp(rules[i].name, name))
			continue;
#ifdef DF_SIM
		df_rules_off = on ? df_rules_off & ~rules[i].bit
				  : df_rules_off | rules[i].bit;
#else
		(void)on;
#endif
		return 0;
	}
	return -ENOENT;
}
