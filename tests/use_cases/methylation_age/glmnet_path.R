# One elastic net solution by glmnet, converged tightly.
# Arguments: z.bin y.bin rows lambda alpha out.bin; the files hold doubles, z column by column.
# The columns come standardised; glmnet fits them as they are.
library(glmnet)
arguments <- commandArgs(trailingOnly = TRUE)
doubles <- function(file) readBin(file, "double", file.size(file) / 8)
y <- doubles(arguments[2])
z <- matrix(doubles(arguments[1]), nrow = as.integer(arguments[3]))
lambda <- as.numeric(arguments[4])
# A falling path of penalties gives warm starts; the last one is the one asked for.
path <- exp(seq(log(50 * lambda), log(lambda), length.out = 30))
fit <- glmnet(z, y, alpha = as.numeric(arguments[5]), lambda = path, standardize = FALSE, intercept = FALSE,
              thresh = 1e-20, maxit = 1e8)
writeBin(unname(as.matrix(fit$beta)[, length(path)]), arguments[6])
