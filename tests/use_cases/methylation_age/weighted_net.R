# The weighted elastic net by glmnet, converged tightly, at several penalties.
# Arguments: weighted_net_rows.csv weighted_net_factors.csv OUT.csv
# Rows: betas of made-up CpGs and the outcome y last. Everything is standardised here, by mean and population deviation.
library(glmnet)
arguments <- commandArgs(trailingOnly = TRUE)
rows <- as.matrix(read.csv(arguments[1]))
factors <- read.csv(arguments[2])$factor
deviation <- function(x) sqrt(mean((x - mean(x))^2))
scaled <- apply(rows, 2, function(x) (x - mean(x)) / deviation(x))
z <- scaled[, -ncol(scaled)]
y <- scaled[, ncol(scaled)]
lambdas <- c(0.3, 0.1, 0.03, 0.01)
path <- sort(unique(c(lambdas, exp(seq(log(1), log(0.01), length.out = 60)))), decreasing = TRUE)
fit <- glmnet(z, y, alpha = 0.8, lambda = path, penalty.factor = factors, standardize = FALSE, intercept = FALSE,
              thresh = 1e-25, maxit = 1e8)
found <- as.matrix(fit$beta)[, match(lambdas, path)]
colnames(found) <- paste0("lambda_", lambdas)
write.csv(format(found, digits = 17, scientific = TRUE, trim = TRUE), arguments[3], row.names = FALSE, quote = FALSE)
