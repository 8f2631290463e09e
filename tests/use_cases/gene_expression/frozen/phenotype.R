# What R makes of phenotype_data.csv, with 17 significant digits: glmnet, coxph, survfit, survdiff, concordance.
# Arguments: the data, and the table to write (columns what, of, value). The data and the table are synthetic.
suppressPackageStartupMessages({library(glmnet); library(survival)})
arguments <- commandArgs(trailingOnly = TRUE)
data <- read.csv(arguments[1])
genes <- paste0("G", 0:11)
rows <- list()
add <- function(what, of, value) {
  rows[[length(rows) + 1]] <<- data.frame(what = what, of = of, value = formatC(value, digits = 17, format = "g"))
}

# elastic net; glmnet scales penalty factors to add up to the number of columns, so lambda is given in its measure
lambdas <- c(0.2, 0.1, 0.05, 0.02, 0.01)
train <- data[data$split == 0, ]
x <- as.matrix(train[, c(genes, "age")])
free <- c(rep(1, 12), 0)
for (alpha in c(0.5, 1)) {
  fit <- glmnet(x, train$group, family = "binomial", alpha = alpha, lambda = lambdas * sum(free) / length(free),
                penalty.factor = free, thresh = 1e-18, maxit = 1e8)
  for (k in seq_along(lambdas)) add("glmnet", paste(alpha, k - 1), c(fit$a0[k], as.matrix(fit$beta)[, k]))
}

# Cox, all rows; times are multiples of 30
data$male <- data$sex
exact <- coxph.control(eps = 1e-14, toler.chol = 1e-15, iter.max = 100)
formula <- Surv(time, died) ~ G0 + G1 + G2 + G3 + age + male
for (ties in c("breslow", "efron")) {
  fit <- coxph(formula, data, ties = ties, control = exact)
  add("cox", paste(ties, "estimate"), coef(fit))
  add("cox", paste(ties, "error"), sqrt(diag(vcov(fit))))
  add("cox", paste(ties, "loglik"), fit$loglik)
  fit <- coxph(update(formula, . ~ . + strata(home)), data, ties = ties, control = exact)
  add("cox", paste(ties, "strata"), coef(fit))
}
# the score test of one gene at a time at 0
for (gene in genes) {
  fit <- coxph(reformulate(gene, "Surv(time, died)"), data, ties = "breslow", iter.max = 0)
  add("null residual", gene, sum(residuals(fit, type = "martingale") * data[[gene]]))
}

# discrete time: a row for each patient and period, with a level for each period that has an event
cuts <- sort(unique(data$time[data$died == 1]))
long <- do.call(rbind, lapply(seq_len(nrow(data)), function(i) {
  k <- which(cuts <= data$time[i])
  if (length(k) == 0) return(NULL)
  event <- data$died[i] == 1 & cuts[k] == data$time[i]
  data.frame(event = as.integer(event), period = factor(k, levels = seq_along(cuts)), data[i, c("G0", "G1", "age")],
             row.names = NULL)
}))
fit <- glm(event ~ G0 + G1 + age + period, binomial, long, control = glm.control(epsilon = 1e-15, maxit = 100))
add("discrete", "estimate", coef(fit))
add("discrete", "deviance", deviance(fit))

# curves by group
fit <- summary(survfit(Surv(time, died) ~ group, data), times = seq(30, 1020, 30), extend = TRUE)
add("km", "survival", fit$surv)
add("km", "lower", fit$lower)
add("km", "upper", fit$upper)
add("km", "at risk", fit$n.risk)
test <- survdiff(Surv(time, died) ~ stage, data)
add("log-rank", "statistic", test$chisq)
add("log-rank", "p", pchisq(test$chisq, 2, lower.tail = FALSE))
c <- concordance(Surv(time, died) ~ G0, data, reverse = TRUE)
add("concordance", "index", c$concordance)
add("concordance", "pairs", sum(c$count[c("concordant", "discordant", "tied.x")]))
write.csv(do.call(rbind, rows), arguments[2], row.names = FALSE, quote = FALSE)
